/* Counts and fails the system calls of a process: loaded with LD_PRELOAD, controlled through shared memory.
 *
 * torture.py maps the same file, which $INJECT_PLAN names. While the plan is armed, each listed call of any
 * thread is counted; the call with the planned number fails with the planned error, or kills the process
 * before it is made. Unlike strace, which counts for each thread, this counts for the whole process, so that
 * exactly one call fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum call { FSYNC, PWRITE64, OPENAT, FTRUNCATE, UNLINK, CONNECT, READ, CALLS };

/* The layout is that of `Plan` in torture.py. A planned error of -1 means SIGKILL. */
struct plan {
    atomic_int armed, call, number, error, hit;
    atomic_int counts[CALLS];
    char target[256];
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void) {
    const char *path = getenv("INJECT_PLAN");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED) plan = memory;
}

/* The path of a descriptor, for the report. */
static void describe(int descriptor) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, plan->target, sizeof plan->target - 1);
    plan->target[size < 0 ? 0 : size] = 0;
}

/* Counts one call; returns whether it must fail, with errno set. */
static int fails(enum call call, int descriptor, const char *path) {
    if (!plan || !atomic_load(&plan->armed)) return 0;
    int number = atomic_fetch_add(&plan->counts[call], 1) + 1;
    if ((int)call != atomic_load(&plan->call) || number != atomic_load(&plan->number)) return 0;
    if (path) strncpy(plan->target, path, sizeof plan->target - 1);
    else describe(descriptor);
    atomic_store(&plan->hit, 1);
    int error = atomic_load(&plan->error);
    if (error < 0) kill(getpid(), SIGKILL), pause();
    errno = error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define OPEN_MODE(flags) va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list)

int fsync(int file) { REAL(fsync); return fails(FSYNC, file, 0) ? -1 : real(file); }

/* SQLite calls the one or the other, as it was built. */
int fdatasync(int file) { REAL(fdatasync); return fails(FSYNC, file, 0) ? -1 : real(file); }

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    REAL(pwrite64);
    return fails(PWRITE64, file, 0) ? -1 : real(file, bytes, size, at);
}

int open(const char *path, int flags, ...) {
    REAL(open); OPEN_MODE(flags);
    return fails(OPENAT, -1, path) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    REAL(open64); OPEN_MODE(flags);
    return fails(OPENAT, -1, path) ? -1 : real(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    REAL(openat); OPEN_MODE(flags);
    return fails(OPENAT, -1, path) ? -1 : real(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    REAL(openat64); OPEN_MODE(flags);
    return fails(OPENAT, -1, path) ? -1 : real(directory, path, flags, mode);
}

int ftruncate(int file, off_t size) {
    REAL(ftruncate);
    return fails(FTRUNCATE, file, 0) ? -1 : real(file, size);
}

int ftruncate64(int file, off64_t size) {
    REAL(ftruncate64);
    return fails(FTRUNCATE, file, 0) ? -1 : real(file, size);
}

int unlink(const char *path) { REAL(unlink); return fails(UNLINK, -1, path) ? -1 : real(path); }

int connect(int socket, const struct sockaddr *address, socklen_t size) {
    REAL(connect);
    return fails(CONNECT, socket, 0) ? -1 : real(socket, address, size);
}

ssize_t read(int file, void *bytes, size_t size) {
    REAL(read);
    return fails(READ, file, 0) ? -1 : real(file, bytes, size);
}

//! The directories of the config file, the database and the control socket.
//!
//! [`load()`](super::load()) takes its default paths from here and the client looks for the daemon's
//! socket here, so that both agree. A directory comes from the service manager, else from an XDG
//! variable, else from the system (root) or the home directory (any other user).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::unistd::User;
use rustix::process::{Uid, getuid};

use super::path_setting::resolve_file_path;

const NAME: &str = "jobtrack";
const SOCKET_NAME: &str = "control.sock";
const SYSTEM_CONFIG: &str = "/etc";
const SYSTEM_STATE: &str = "/var/lib";
const SYSTEM_RUNTIME: &str = "/run";

/// The base directories of one user in one environment.
#[derive(Debug, Clone)]
pub struct Directories {
    is_root: bool,
    home: Option<PathBuf>,
    /// `/run/user/UID`, which exists while the user is logged in.
    user_runtime: PathBuf,
    /// `$STATE_DIRECTORY` of the service manager, which is jobtrack's own directory, unlike the XDG bases.
    systemd_state: Option<PathBuf>,
    systemd_runtime: Option<PathBuf>,
    xdg_config: Option<PathBuf>,
    xdg_state: Option<PathBuf>,
    xdg_runtime: Option<PathBuf>,
}

impl Directories {
    /// The directories of the process's user; `var` reads an environment variable.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let uid = getuid();
        Self::for_user(uid, var, || {
            let user = User::from_uid(uid.as_raw().into()).ok().flatten();
            user.map(|user| user.dir)
        })
    }

    fn for_user(
        uid: Uid,
        var: impl Fn(&str) -> Option<OsString>,
        passwd_home: impl FnOnce() -> Option<PathBuf>,
    ) -> Self {
        // The XDG specification: a relative path is invalid and ignored.
        let absolute = |name| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            is_root: uid.is_root(),
            // A container's user without a passwd entry has the home /, which is no home.
            home: absolute("HOME").or_else(passwd_home).filter(|home| home != Path::new("/")),
            user_runtime: PathBuf::from(format!("/run/user/{}", uid.as_raw())),
            systemd_state: var("STATE_DIRECTORY").as_deref().and_then(first_of_list),
            systemd_runtime: var("RUNTIME_DIRECTORY").as_deref().and_then(first_of_list),
            xdg_config: absolute("XDG_CONFIG_HOME"),
            xdg_state: absolute("XDG_STATE_HOME"),
            xdg_runtime: absolute("XDG_RUNTIME_DIR"),
        }
    }

    /// The path of a file in an argument, with `~` expanded.
    ///
    /// # Errors
    /// If there is no home directory, or the path begins with the home of another user.
    pub fn expand_home(&self, path: &str) -> Result<PathBuf, String> {
        if path.starts_with('~') {
            resolve_file_path(Path::new(path), self.home())
        } else {
            Ok(path.into())
        }
    }

    /// What `~` stands for.
    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The config files that are looked for when none is named; the first that exists is read.
    pub(super) fn config_files(&self) -> Vec<PathBuf> {
        let user = self.xdg_config.clone().or_else(|| self.below_home(".config"));
        let bases = user.into_iter().chain([PathBuf::from(SYSTEM_CONFIG)]);
        bases.map(|base| base.join(NAME).join("config.toml")).collect()
    }

    /// The directory of the database.
    pub(super) fn state(&self) -> PathBuf {
        self.systemd_state.clone().unwrap_or_else(|| self.unmanaged_state())
    }

    /// The path at which the daemon listens.
    pub(super) fn socket(&self) -> PathBuf {
        let directory = match (&self.systemd_runtime, &self.xdg_runtime) {
            (Some(directory), _) => directory.clone(),
            (None, Some(base)) => base.join(NAME),
            (None, None) if self.is_root => Path::new(SYSTEM_RUNTIME).join(NAME),
            (None, None) if self.user_runtime.is_dir() => self.user_runtime.join(NAME),
            (None, None) => self.unmanaged_state(),
        };
        directory.join(SOCKET_NAME)
    }

    /// The paths at which a daemon of this user or of the system may listen, the user's first.
    ///
    /// The service manager's variables do not count: they belong to the service that calls the
    /// client. All other places do: the daemon may have started before the user logged in, without the variables
    /// of a login, or as another user in the same container.
    #[must_use]
    pub fn socket_candidates(&self) -> Vec<PathBuf> {
        let runtime_bases = self.xdg_runtime.iter().chain([&self.user_runtime]).cloned();
        let own_state = if self.is_root { None } else { self.xdg_state.clone() };
        let state_bases = own_state.into_iter().chain(self.below_home(".local/state"));
        let system_bases = [SYSTEM_RUNTIME, SYSTEM_STATE].map(PathBuf::from);
        let mut candidates = Vec::new();
        for base in runtime_bases.chain(state_bases).chain(system_bases) {
            let path = base.join(NAME).join(SOCKET_NAME);
            if !candidates.contains(&path) {
                candidates.push(path);
            }
        }
        candidates
    }

    fn unmanaged_state(&self) -> PathBuf {
        let base = self.xdg_state.clone().or_else(|| self.below_home(".local/state"));
        base.unwrap_or_else(|| SYSTEM_STATE.into()).join(NAME)
    }

    /// A directory of the user's home; none for root, whose daemon is the system's.
    fn below_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().filter(|_| !self.is_root).map(|home| home.join(path))
    }
}

/// systemd separates several directories by colons.
fn first_of_list(list: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(list).next().filter(|path| path.is_absolute())
}

/// A path in an argument with `~` expanded, which no shell does after a `=`.
///
/// # Errors
/// As [`Directories::expand_home`].
pub fn parse_file_path(text: &str) -> Result<PathBuf, String> {
    Directories::from_env(|name| std::env::var_os(name)).expand_home(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 4_000_000_000;

    type Env<'a> = &'a [(&'a str, &'a str)];

    fn directories(uid: u32, env: Env<'_>) -> Directories {
        let var = |name: &str| {
            let value = env.iter().find(|(candidate, _)| *candidate == name);
            value.map(|(_, value)| OsString::from(value))
        };
        Directories::for_user(Uid::from_raw(uid), var, || Some("/home/passwd".into()))
    }

    #[test]
    fn state_and_socket_follow_the_environment() {
        let managed = [
            ("STATE_DIRECTORY", "/s:/s2"),
            ("RUNTIME_DIRECTORY", "/r:/r2"),
            ("XDG_STATE_HOME", "/x"),
            ("XDG_RUNTIME_DIR", "/y"),
        ];
        let xdg = [("XDG_STATE_HOME", "/x"), ("XDG_RUNTIME_DIR", "/y"), ("HOME", "/h")];
        let invalid = [("XDG_STATE_HOME", "x"), ("XDG_RUNTIME_DIR", ""), ("HOME", "/h")];
        let cases: [(u32, Env<'_>, &str, &str); 8] = [
            (0, &[], "/var/lib/jobtrack", "/run/jobtrack"),
            (0, &[("HOME", "/root")], "/var/lib/jobtrack", "/run/jobtrack"),
            (0, &xdg, "/x/jobtrack", "/y/jobtrack"),
            (0, &managed, "/s", "/r"),
            (NOBODY, &managed, "/s", "/r"),
            (NOBODY, &xdg, "/x/jobtrack", "/y/jobtrack"),
            (NOBODY, &invalid, "/h/.local/state/jobtrack", "/h/.local/state/jobtrack"),
            (
                NOBODY,
                &[],
                "/home/passwd/.local/state/jobtrack",
                "/home/passwd/.local/state/jobtrack",
            ),
        ];
        for (uid, env, state, runtime) in cases {
            let directories = directories(uid, env);
            assert_eq!(directories.state(), Path::new(state), "uid {uid}, {env:?}");
            let socket = Path::new(runtime).join("control.sock");
            assert_eq!(directories.socket(), socket, "uid {uid}, {env:?}");
        }
    }

    #[test]
    fn a_user_without_a_home_gets_the_system_directories() {
        let var = |_: &str| None;
        let directories = Directories::for_user(Uid::from_raw(NOBODY), var, || None);
        assert_eq!(directories.state(), Path::new("/var/lib/jobtrack"));
        assert_eq!(directories.config_files(), [Path::new("/etc/jobtrack/config.toml")]);
    }

    #[test]
    fn the_root_directory_is_no_home() {
        let var = |name: &str| (name == "HOME").then(|| OsString::from("/"));
        let directories = Directories::for_user(Uid::from_raw(NOBODY), var, || None);
        assert_eq!(directories.state(), Path::new("/var/lib/jobtrack"));
        assert_eq!(directories.socket(), Path::new("/var/lib/jobtrack/control.sock"));
        let root = Directories::for_user(Uid::ROOT, var, || None);
        assert!(root.socket_candidates().contains(&directories.socket()));
    }

    #[test]
    fn the_user_config_file_comes_before_the_system_one() {
        let system = "/etc/jobtrack/config.toml";
        let cases: [(u32, Env<'_>, &[&str]); 4] = [
            (0, &[("HOME", "/root")], &[system]),
            (0, &[("XDG_CONFIG_HOME", "/c")], &["/c/jobtrack/config.toml", system]),
            (NOBODY, &[("XDG_CONFIG_HOME", "/c")], &["/c/jobtrack/config.toml", system]),
            (NOBODY, &[("HOME", "/h")], &["/h/.config/jobtrack/config.toml", system]),
        ];
        for (uid, env, expected) in cases {
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(directories(uid, env).config_files(), expected, "uid {uid}, {env:?}");
        }
    }

    #[test]
    fn the_client_tries_every_socket_that_a_daemon_may_choose() {
        for uid in [0, NOBODY] {
            for env in [&[][..], &[("XDG_RUNTIME_DIR", "/y")], &[("XDG_STATE_HOME", "/x")]] {
                let directories = directories(uid, env);
                let candidates = directories.socket_candidates();
                assert!(candidates.contains(&directories.socket()), "{uid} {env:?} {candidates:?}");
                let last = candidates.last_chunk::<2>().expect("the places of the system");
                let expected = ["/run/jobtrack/control.sock", "/var/lib/jobtrack/control.sock"];
                assert_eq!(last.each_ref().map(PathBuf::as_path), expected.map(Path::new));
            }
        }
        let service = [("RUNTIME_DIRECTORY", "/run/etl"), ("STATE_DIRECTORY", "/var/lib/etl")];
        assert_eq!(
            directories(NOBODY, &service).socket_candidates(),
            directories(NOBODY, &[]).socket_candidates(),
            "the variables belong to the calling service"
        );
    }
}

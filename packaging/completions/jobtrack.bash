# The program itself prints the code of its completion, so that both are of the same version.
source <(JOBTRACK_COMPLETE=bash jobtrack)

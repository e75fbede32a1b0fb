# The program itself prints the code of its completion, so that both are of the same version.
JOBTRACK_COMPLETE=fish jobtrack | source

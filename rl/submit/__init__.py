"""`rl submit`: a recipe as a job on a running Ray cluster, with the files it needs in the job's working directory."""

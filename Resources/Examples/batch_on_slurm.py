"""A batch on a SLURM cluster: dask workers as SLURM jobs, and `fewshot-annotate batch` on them. A file to adapt.

On a machine that may submit jobs, and in a Python environment that the compute nodes see too:

    pip install "fewshot-annotate[cluster]" dask-jobqueue cryptography
    python batch_on_slurm.py MANIFEST.csv -o OUT_DIR [other options of `fewshot-annotate batch`]

MANIFEST.csv, the volumes it lists, OUT_DIR and the user's data folder (weights, library) must lie where the compute
nodes find them under the same paths; FEWSHOT_ANNOTATE_HOME names another data folder. Each job is one worker process
and runs one case at a time. Scheduler and workers talk to each other, and to nobody else, by certificates that are
made for this batch; those of the workers lie in CERTIFICATES as long as it runs. When SLURM ends a job, its case is
given to another one; when this program ends, start it again with --resume.
"""

import sys

# What to ask SLURM for, for one worker.
WORKER = {
    "queue": "gpu",  # the partition
    "account": None,
    "cores": 1,  # each worker runs one case at a time, on one core
    "processes": 1,
    "memory": "16 GB",
    "walltime": "08:00:00",
    "job_extra_directives": ["--gres=gpu:1"],  # [] for engines that need no GPU
    "job_script_prologue": [],  # for example ["module load cuda", "export FEWSHOT_ANNOTATE_HOME=/project/fewshot"]
    "local_directory": "/tmp",
    "death_timeout": 300,
}
# A folder that the compute nodes see and only you can read.
CERTIFICATES = "."
# Jobs to begin with, and at most.
LEAST, MOST = 1, 20


def main(arguments):
    """Start the jobs as they are needed, run the batch, and end them; returns its exit code."""
    import dask
    from dask_jobqueue import SLURMCluster
    from distributed import Security
    from fewshot_annotate.cli import main as fewshot_annotate

    security = Security.temporary()
    settings = {
        "distributed.scheduler.http.routes": [],  # no pages about the batch for everybody
        "distributed.comm.tls.ca-file": security.tls_ca_file,
        "distributed.comm.tls.client.key": security.tls_client_key,
        "distributed.comm.tls.client.cert": security.tls_client_cert,
    }
    secured = {"security": security, "protocol": "tls://", "shared_temp_directory": CERTIFICATES}
    with dask.config.set(settings), SLURMCluster(**WORKER, **secured) as cluster:
        cluster.adapt(minimum_jobs=LEAST, maximum_jobs=MOST)
        return fewshot_annotate(["batch", *arguments, "--scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

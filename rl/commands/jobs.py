"""`rl submit`, `rl jobs` and `rl slurm`: runs on clusters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rl.commands.arguments import Json, Overrides, RecipeName

jobs_app = typer.Typer(help="Runs that `rl submit` has sent to a Ray cluster.")

Address = Annotated[str, typer.Option(help="The cluster's dashboard: HOST, HOST:PORT or a URL.")]
Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's name, as `rl submit` and `rl jobs list` say it.")]
Follow = Annotated[bool, typer.Option("--follow", help="Print the job's output; exit with 1 if it fails.")]


@jobs_app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def submit(
    recipe: RecipeName,
    address: Address,
    overrides: Overrides = None,
    follow: Follow = False,
    out: Annotated[str | None, typer.Option(help="The run's directory, on storage that its machines share.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    cpus: Annotated[float | None, typer.Option(min=0, help="CPUs for the job's own process.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs for the job's own process.")] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0, help="Memory for the job's own process, in GB.")] = None,
) -> None:
    """Send a recipe to a running Ray cluster as a job, with the files that it names. The job waits for its devices."""
    from rl.recipe import load
    from rl.submit import jobs
    from rl.terminal import complain, say, shell_command

    address, changes = jobs.dashboard(address), list(overrides or ())
    resources = jobs.Resources(cpus, gpus, memory_gb)
    job, folder = jobs.submit(load(recipe, changes), address, out, resume, complain, (recipe, changes), resources)
    say(f"job {job}, its run in {folder} on the cluster")
    if not follow:
        return say(f"follow it with: {shell_command('rl', 'jobs', 'logs', job, '--address', address, '--follow')}")
    _follow(job, address)


def _follow(job: str, address: str) -> None:
    """Print a job's output until it ends; exit with 1 if it fails."""
    from rl import signals
    from rl.submit import job_list, jobs
    from rl.terminal import pass_on, say, shell_command

    stop = shell_command("rl", "jobs", "stop", job, "--address", address)
    with signals.interruptible(f"the job goes on; stop it with: {stop}"):
        jobs.follow(address, job, pass_on)
    entry = job_list.find_job(address, job)
    say(f"job {job} {entry.explain()}")
    raise typer.Exit(0 if entry.status == "succeeded" else 1)


@jobs_app.command("list")
def list_jobs(address: Address, as_json: Json = False) -> None:
    """List the cluster's jobs, the newest first: what waits, runs and has ended."""
    from rl.submit import job_list, jobs
    from rl.terminal import console, print_json, say

    address = jobs.dashboard(address)
    entries = job_list.list_jobs(address)
    if as_json:
        return print_json(job_list.as_json(entries))
    if not entries:
        return say(f"no jobs on {address}")
    console().print(job_list.jobs_table(entries))


@jobs_app.command("logs")
def logs(job: Job, address: Address, follow: Follow = False) -> None:
    """Print what a job has written so far; with --follow, until it ends."""
    from rl.submit import job_list, jobs
    from rl.terminal import pass_on

    address = jobs.dashboard(address)
    if follow:
        job_list.find_job(address, job)
        # Does not return: it exits with 0 or 1, as the job has ended.
        _follow(job, address)
    pass_on(job_list.read_logs(address, job))


@jobs_app.command("stop")
def stop(job: Job, address: Address) -> None:
    """End a job; its run can go on with `rl submit --resume`."""
    from rl.submit import job_list, jobs
    from rl.terminal import say

    say(f"job {job} {job_list.stop(jobs.dashboard(address), job)}")


@jobs_app.command("fetch")
def fetch(
    job: Job,
    address: Address,
    out: Annotated[Path | None, typer.Option(help="The folder to write; runs/JOB unless said otherwise.")] = None,
    only: Annotated[
        str, typer.Option(metavar="PART", help="run (all but checkpoints), all, report, or model (of the last stage).")
    ] = "run",
) -> None:
    """Bring a job's run directory here, through the dashboard alone. What is here already is not brought again."""
    from rl.submit import fetching, jobs
    from rl.terminal import say, shell_command

    folder = out or Path("runs") / job
    fetched = fetching.fetch(jobs.dashboard(address), job, folder, only)
    say(f"{fetched.files} files, {fetched.size}, in {folder}")
    if only in ("run", "all"):
        say(f"look at it with: {shell_command('rl', 'show', folder)}")


@jobs_app.command("share", hidden=True)
def share(folder: str) -> None:
    """Show a run's files to `rl jobs fetch`; runs on the cluster."""
    from rl.submit.sharing import share as share_folder

    share_folder(Path(folder))


@jobs_app.command("cancel", hidden=True)
def cancel(job: str) -> None:
    """End a job that waits for a node; runs on the cluster for `rl jobs stop`."""
    from rl.submit.cancelling import cancel as cancel_job

    cancel_job(job)


@jobs_app.command("await-nodes", hidden=True)
def await_nodes(
    count: int,
    hosts: Annotated[str, typer.Option(help="Names of the nodes, to say which have not joined.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 300.0,
) -> None:
    """Wait until so many nodes have joined the Ray at RAY_ADDRESS; the script of `rl slurm` calls it."""
    from rl.submit import joined
    from rl.terminal import say

    seconds = joined.await_nodes(count, hosts.split(), timeout)
    say(f"{count} of {count} nodes have joined after {seconds:.0f} s")


def slurm(
    recipe: RecipeName,
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.")],
    overrides: Overrides = None,
    gpus_per_node: Annotated[int | None, typer.Option(help="GPUs of each node.")] = None,
    cpus_per_node: Annotated[int | None, typer.Option(help="CPUs of each; whole nodes unless said.")] = None,
    time: Annotated[
        str | None, typer.Option(help="Time limit: HH:MM:SS or D-HH:MM:SS. The run goes on after it.")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm's account.")] = None,
    qos: Annotated[str | None, typer.Option(help="Slurm's quality of service.")] = None,
    grace: Annotated[int, typer.Option(min=30, help="Seconds before the limit at which the run is ended.")] = 300,
    sbatch: Annotated[list[str] | None, typer.Option(metavar="OPTION", help="Any further option of sbatch.")] = None,
    setup: Annotated[
        list[str] | None, typer.Option(metavar="LINE", help="A shell line that puts rl on the PATH.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run's directory, on storage that all nodes share.")] = None,
    script: Annotated[Path | None, typer.Option(help="The file to write; NAME.sbatch unless said otherwise.")] = None,
) -> None:
    """Write the job script that runs a recipe on several nodes under Slurm."""
    from rl.config import ConfigError
    from rl.recipe import load
    from rl.submit.slurm import SlurmJob, render
    from rl.terminal import say, shell_command

    changes = list(overrides or ())
    header = load(recipe, changes).header
    name = header.name
    if header.cluster.address:
        raise ConfigError(
            f"cluster.address: {header.cluster.address} is set, and a Slurm job has a Ray of its own; remove it"
        )
    job = SlurmJob(nodes, gpus_per_node, cpus_per_node, time, partition, account, qos, grace, sbatch or ())
    file = script or Path(f"{name}.sbatch")
    if os.path.exists(file):  # unlike Path.exists it answers for a name that is too long
        raise ConfigError(
            f"{file}: is there already, perhaps with changes of yours; remove it or choose another --script"
        )
    if not file.parent.is_dir():
        raise ConfigError(f"--script {file}: there is no folder {file.parent}; create it or name another")
    text = render(job, recipe, name, changes, out or f"runs/{name}", setup or ())
    try:
        file.write_text(text)
    except OSError as error:
        raise ConfigError(f"--script {file}: cannot be written ({error.strerror}); name another file") from error
    say(f"wrote {file}; queue it with: {shell_command('sbatch', file)}")

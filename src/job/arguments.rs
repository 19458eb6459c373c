//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sci-hpc init quickstart > job.yaml                     a commented job file to start from
  sci-hpc --config job.yaml --dry-run --ranks 8          what it would do and need; starts nothing
  mpirun -n 2 --bind-to none sci-hpc --config job.yaml   run it on two ranks of this machine
  srun sci-hpc --config job.yaml                         run it in a Slurm allocation
  sci-hpc --config job.yaml --set train.epochs=3 --set 'compress.error_bound={rel: 1e-3}'
  sci-hpc --config job.yaml --append                     code the inputs that have come or grown since the last run
  sci-hpc inspect runs/job/archive/flow.nc.sci.h5 --verify
  sci-hpc extract runs/job/archive/flow.nc.sci.h5 -v u -t 10:20 -z 0:16 -o part.nc

The same command again resumes an interrupted run: finished stages are skipped.
Results: <job.output>/report.html, metrics.json, events.jsonl, archive/, decompressed/, models.

Exit codes:
  0 done                                   5 environment: GPU, MPI, memory
  2 arguments or job file, nothing started 6 output not written
  3 input data: missing, wrong, corrupt    70 a bug in sci-hpc
  4 numerics: non-finite, bound missed     75 stopped by a signal, checkpoint written: run again
  128 + n: ended at once by a second TERM or INT (n: its number); run again, from the checkpoint before";

/// Train autoencoders on archives of 3D fields, compress them under a guaranteed error bound, and assimilate
/// observations in the latent space; over MPI ranks, from one job file.
#[derive(Debug, Parser)]
#[command(name = "sci-hpc", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Arguments {
    /// How a job is run.
    #[command(flatten)]
    pub run: RunArguments,
    /// Anything else.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// How a job is run.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The job file (YAML): its sections are the stages that run
    #[arg(long, value_name = "JOB.YAML")]
    pub config: Option<PathBuf>,
    /// Override one key, VALUE in YAML (null: as if the key were not there); may be repeated
    #[arg(long, value_name = "PATH=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// Check everything, print shapes, parameters, FLOPs, memory per rank and output bytes; needs no MPI
    #[arg(long, requires = "config", group = "planned", conflicts_with_all = ["smoke", "fresh", "print_config"])]
    pub dry_run: bool,
    /// A dry run that also codes a sample of the inputs: what every predictor makes of it, size and time of the archive,
    /// when a model pays
    #[arg(long, requires = "config", group = "planned", conflicts_with_all = ["smoke", "fresh", "print_config"])]
    pub plan: bool,
    /// Number of ranks a dry run or a plan is for [default: 1]
    #[arg(long, requires = "planned", value_parser = clap::value_parser!(u32).range(1..))]
    pub ranks: Option<u32>,
    /// One training step, the first tiles of one file and one state, through every stage; leaves nothing behind
    #[arg(long, requires = "config", conflicts_with = "print_config")]
    pub smoke: bool,
    /// Start over: remove what an earlier run left in job.output
    #[arg(long, requires = "config")]
    pub fresh: bool,
    /// Code inputs that are new since an earlier run, or have changed: of a file that has grown only the tiles that are
    /// not yet in its archive. The archives of the others stay, also of inputs that are no longer there
    #[arg(long, requires = "config", conflicts_with_all = ["planned", "smoke", "fresh", "print_config"])]
    pub append: bool,
    /// Print the effective job file, every default filled in, and stop
    #[arg(long, requires = "config")]
    pub print_config: bool,
    /// Threads per rank [default: SLURM_CPUS_PER_TASK, else this rank's share of the cores it may use]
    #[arg(long, requires = "config", value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
}

/// Cells along z, y and x.
pub type Grid = [usize; 3];

fn grid(text: &str) -> Result<Grid, String> {
    let extents: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let grid = extents.ok().and_then(|extents| Grid::try_from(extents).ok());
    grid.filter(|grid| grid.iter().all(|n| (1..=1 << 12).contains(n)))
        .ok_or_else(|| "three extents from 1 to 4096, like 91x85x32".into())
}

fn cells(text: &str) -> Result<Grid, String> {
    let one = text.parse().ok().filter(|k| (1..=1 << 12).contains(k));
    one.map_or_else(|| grid(text).map_err(|_| "a number from 1 to 4096, or three, like 1x4x4".into()), |k| Ok([k; 3]))
}

/// What runs without a job file, without MPI and without a GPU.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what a file holds: archive, model, HDF5, NetCDF or IDX
    Inspect {
        /// The file
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Read and check every byte of an archive
        #[arg(long)]
        verify: bool,
    },
    /// Read a part of an archive into a NetCDF file; decodes only the tiles it needs
    Extract {
        /// The archive
        archive: PathBuf,
        /// Variable; may be repeated [default: all]
        #[arg(short, long = "variable", value_name = "NAME")]
        variables: Vec<String>,
        /// Steps A to B - 1, counted from 0; either may be left out [default: all]
        #[arg(short, long, value_name = "A:B")]
        times: Option<String>,
        /// Cells A to B - 1 along z (the outermost of up to three axes in space), counted from 0 [default: all]
        #[arg(short, value_name = "A:B")]
        z: Option<String>,
        /// The same along y
        #[arg(short, value_name = "A:B")]
        y: Option<String>,
        /// The same along x, the innermost
        #[arg(short, value_name = "A:B")]
        x: Option<String>,
        /// A preview: means over K cells along each axis in space, or over KZxKYxKX; as near as `abs` or `rel` bounds values
        #[arg(long, value_name = "K", default_value = "1", value_parser = cells)]
        coarsen: Grid,
        /// Write what is not damaged: damaged tiles hold the fill value, are named, and the exit code is 3
        #[arg(long)]
        salvage: bool,
        /// The file to write
        #[arg(short, long, value_name = "OUT.NC")]
        output: PathBuf,
    },
    /// Open the inputs of a job, where a malformed one does no harm; started by the job itself
    #[command(hide = true)]
    Probe,
    /// List the architectures of train.model with their sizes
    Models {
        /// Cells of one field along its three axes
        #[arg(long, value_name = "ZxYxX", default_value = "91x85x32", value_parser = grid)]
        grid: Grid,
        /// As JSON: name, latent values, parameters, FLOP of a forward pass, bytes to train on one sample
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the job file: every key with meaning, unit and default
    Schema,
    /// Print a commented job file to start from; without NAME, list them
    Init {
        /// Which one
        name: Option<String>,
    },
}

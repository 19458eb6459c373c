//! A disk that is full for one of two ranks that write an archive together: an error on that rank, and nobody waits.

use std::time::{Duration, Instant};

use sci_hpc::archive::{ArchiveWriter, Box4, ErrorClass, Source, Streams};
use sci_hpc::world::{abort_current, shard};

use crate::{data, inner_world, scratch_alone, under_mpirun};

/// Which rank meets the limit: its number is the length of the folder's name modulo two.
fn limited_rank(folder: &std::path::Path) -> usize {
    folder.file_name().unwrap().len() % 2
}

#[test]
fn rank_that_cannot_write_its_streams_ends_both() {
    for name in ["space", "space-"] {
        let folder = scratch_alone(name);
        let (started, rank) = (Instant::now(), limited_rank(&folder));
        if rank > 0 && !cfg!(parallel_hdf5) {
            continue; // rank 0 writes for all
        }
        let ended = std::panic::catch_unwind(|| under_mpirun("space::streams_on_ranks", 2, &folder));
        let told = *ended.expect_err("a rank failed").downcast::<String>().unwrap();
        assert!(
            told.contains(&format!("rank {rank}: Output: ")) && told.contains("a.sci.h5: cannot be written"),
            "{told}"
        );
        assert!(!told.contains("HDF5-DIAG") && !told.contains("finished"), "{told}");
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn streams_on_ranks() {
    let (world, folder) = inner_world();
    let source = Source::open(&data("rich.h5")).unwrap();
    let u = source.variable("u").unwrap();
    let mut writer = ArchiveWriter::create(&world, &folder.join("a.sci.h5"), &source, &["u".into()]).unwrap();
    let mut streams = Streams::new();
    for t in shard::range(u.shape[0], world.size(), world.rank()) {
        streams.push(&Box4::times(u.shape, t..t + 1), 0, 0, &vec![7; 100_000]);
    }
    writer.write_group("u", streams).unwrap();
    if world.rank() == limited_rank(&folder) {
        let limit = libc::rlimit { rlim_cur: 50_000, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: plain calls with valid arguments.
        let limited = unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
        };
        assert_eq!(limited, 0);
    }
    if let Err(error) = writer.finish() {
        let class = if error.class() == ErrorClass::Output { "Output" } else { "Input" };
        eprintln!("rank {}: {class}: {error}", world.rank());
        abort_current(6);
    }
    println!("finished");
}

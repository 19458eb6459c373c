//! Job files, models, archives, IDX and raw files, changed at random: an error or other values, never a panic, never a
//! hang, never more memory than the file justifies. A few seconds each; the changes are counted, so a failure repeats.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{bits, noise};
use sci_hpc::archive::{Archive, ArchiveWriter, Box4, ElementType, Reading, Source, Streams, Values};
use sci_hpc::backend::Cpu;
use sci_hpc::codec::{Bound, LatentShape, Limits, Mask, Predictor, TileFrame, TileSpec};
use sci_hpc::codec::{
    decode_latent, decode_tile, decode_weights, encode_latent, encode_tile, encode_weights, needs_prediction,
};
use sci_hpc::config::{self, ByteOrder, Number, Raw, TEMPLATES};
use sci_hpc::dataset::{Normalizer, Window};
use sci_hpc::model::integer::Quantization;
use sci_hpc::model::{Graph, IntegerDecoder, Shape, TrainedModel, init, zoo};
use sci_hpc::world::World;

/// Seconds per test; `SCI_HPC_CHANGES_S=600 cargo test --release --test mutations` looks longer.
fn seconds() -> f64 {
    std::env::var("SCI_HPC_CHANGES_S").ok().and_then(|s| s.parse().ok()).unwrap_or(4.0)
}

/// For a single change.
const HANG: Duration = Duration::from_secs(30);
/// Changes below which a test says nothing.
const CHANGES_MIN: u64 = 100;

/// Notes the largest array that a thread asks for, and the most it holds at once.
struct Watch;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static WATCH: Watch = Watch;

fn note(bytes: usize) {
    // The thread may be ending.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
    hold(bytes.cast_signed());
}

fn hold(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        MOST.try_with(|most| most.set(most.get().max(held.get())))
    });
}

// SAFETY: hands everything to the allocator of the system.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        hold(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        hold(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Change `i`: one to three bits flipped, bytes overwritten, inserted, removed or repeated, or the end cut off.
fn mutate(original: &[u8], i: u64) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let draw = |k: u64, below: usize| (bits(i, k) % below.max(1) as u64) as usize;
    for change in 0..1 + draw(0, 3) as u64 {
        let k = 8 * (change + 1);
        // Headers are short: half of the changes go there.
        let reach = if draw(k, 2) == 0 { bytes.len().min(64) } else { bytes.len() };
        let (at, n) = (draw(k + 1, reach), 1 + draw(k + 2, 16));
        let end = (at + n).min(bytes.len());
        match draw(k + 3, 6) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << draw(k + 4, 8),
            2 => bytes[at..end].fill([0, 0xFF][draw(k + 4, 2)]),
            3 => drop(bytes.splice(at..at, (0..n).map(|j| draw(k + 5 + j as u64, 256) as u8)).count()),
            4 => drop(bytes.drain(at..end)),
            _ => bytes.truncate(draw(k + 4, bytes.len())),
        }
    }
    bytes
}

/// Arrays of the largest size that may be held at once.
const ARRAYS: usize = 4;

/// Hands change after change to `read`, for a few seconds. `factor`: bytes of memory per byte of the file. Where
/// `SCI_HPC_SEEDS` names a folder, the original goes there, for the targets in fuzz/ to begin with.
fn try_changes(name: &'static str, original: &[u8], factor: usize, mut read: impl FnMut(&[u8])) {
    if let Ok(folder) = std::env::var("SCI_HPC_SEEDS") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(name), original).unwrap();
    }
    let progress: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        loop {
            let before = progress.load(Ordering::Relaxed);
            std::thread::sleep(HANG);
            if before == progress.load(Ordering::Relaxed) && before != u64::MAX {
                eprintln!("{name}, change {before}: no end after {HANG:?}");
                std::process::exit(1);
            }
        }
    });
    let (started, mut i) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < seconds() || i < CHANGES_MIN {
        progress.store(i, Ordering::Relaxed);
        let bytes = mutate(original, i);
        LARGEST.set(0);
        MOST.set(HELD.get());
        let before = HELD.get();
        let done = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        let (largest, most) = (LARGEST.get(), factor * bytes.len().max(original.len()) + (1 << 20));
        assert!(done.is_ok(), "{name}: panics at change {i}");
        assert!(largest <= most, "{name}: change {i} asks for {largest} bytes at once, {most} are justified");
        let held = (MOST.get() - before).max(0).unsigned_abs();
        assert!(held <= ARRAYS * most, "{name}: change {i} holds {held} bytes, {} are justified", ARRAYS * most);
        i += 1;
    }
    progress.store(u64::MAX, Ordering::Relaxed);
    println!("{name}: {i} changes");
}

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Reads everything that can be coded.
fn read_all(path: &Path, reading: &Reading) {
    let Ok(source) = Source::open_with(path, reading) else { return };
    for variable in source.select(None).unwrap_or_default() {
        let _may_be_damaged = source.read(variable, &Box4::whole(variable.shape));
    }
}

fn idx() -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x0B, 3];
    [20u32, 12, 10].iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(noise(1, 2400).iter().flat_map(|v| ((v * 3e4) as i16).to_be_bytes()));
    bytes
}

#[test]
fn changed_job_files_are_read_or_refused() {
    let text = TEMPLATES.iter().map(|t| t.text).max_by_key(|t| t.len()).unwrap();
    try_changes("job file", text.as_bytes(), 200, |bytes| {
        let _may_be_refused = config::parse(Path::new("job.yaml"), &String::from_utf8_lossy(bytes), &[]);
    });
}

#[test]
fn changed_idx_files_are_read_or_refused() {
    let path = path("changed.idx");
    try_changes("IDX", &idx(), 2, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        read_all(&path, &Reading::default());
    });
}

#[test]
fn changed_raw_files_are_read_or_refused() {
    let path = path("changed.f32");
    let original: Vec<u8> = noise(2, 3000).iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    let (shape, variable, units) = (vec![3, 10, 10], "u".to_string(), String::new());
    let raw = Raw { shape, number: Number::F32, order: ByteOrder::Little, variable, units };
    let reading = Reading { raw: Some(raw), ..Reading::default() };
    try_changes("raw", &original, 2, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        read_all(&path, &reading);
    });
}

/// Everything an archive holds, each part against its hash.
fn read_archive(path: &Path) {
    let Ok(archive) = Archive::open(path) else { return };
    for group in archive.groups() {
        for record in archive.index(group).unwrap_or_default() {
            let _may_be_damaged = archive.read_stream(group, record);
        }
    }
    for part in archive.parts().unwrap_or_default() {
        let _may_be_damaged = archive.blob(&part);
    }
}

#[test]
fn changed_archives_are_read_or_refused() {
    let (input, made, changed) = (path("archived.idx"), path("good.sci.h5"), path("changed.sci.h5"));
    std::fs::write(&input, idx()).unwrap();
    let source = Source::open(&input).unwrap();
    let (world, variable) = (World::serial(), source.variable("values").unwrap());
    let mut writer = ArchiveWriter::create(&world, &made, &source, &["values".into()]).unwrap();
    let mut streams = Streams::new();
    for t in 0..variable.shape[0] {
        let region = Box4::times(variable.shape, t..t + 1);
        streams.push(&region, 0, 0, source.read(variable, &region).unwrap().values.bytes());
    }
    writer.put_text("note", "stored as it is").unwrap();
    writer.write_group("values", streams).unwrap();
    writer.finish().unwrap();
    try_changes("archive", &std::fs::read(&made).unwrap(), 4, |bytes| {
        std::fs::write(&changed, bytes).unwrap();
        read_archive(&changed);
    });
}

fn small_model() -> TrainedModel {
    let sample = Shape { grid: [5, 7, 9], channels: 1 };
    let channels = Some(config::Channels::Each(vec![2, 3]));
    let graph = zoo::build(&config::Model { channels, ..Default::default() }, sample).unwrap();
    let normalizer = Normalizer {
        scale: Default::default(),
        scope: config::Normalize::Global,
        grid: sample.grid,
        mean: vec![0.5],
        std: vec![2.0],
        mask: vec![true; sample.len()],
        units: vec!["m s-1".into()],
    };
    let (params, window) = (init::start_values(&graph, 1), Window::whole(sample.grid));
    TrainedModel { params, graph, normalizer, variables: vec!["u".into()], window }
}

#[test]
fn changed_models_are_read_or_refused() {
    let (made, changed) = (path("good.h5"), path("changed.h5"));
    let model = small_model();
    model.write(&made).unwrap();
    assert_eq!(TrainedModel::read(&made).unwrap(), model);
    let original = std::fs::read(&made).unwrap();
    try_changes("model", &original, 4, |bytes| {
        std::fs::write(&changed, bytes).unwrap();
        let read = TrainedModel::read(&changed);
        assert!(bytes == original || read.is_err(), "what was changed is refused");
    });
}

/// The op list of a model, behind whatever hashes: what it says is checked before anything is computed.
#[test]
fn changed_op_lists_are_read_or_refused() {
    let original = serde_json::to_vec(&small_model().graph).unwrap();
    try_changes("op list", &original, 40, |bytes| {
        let Ok(graph) = serde_json::from_slice::<Graph>(bytes) else { return };
        if graph.check().is_ok() && graph.params.len() < 100_000 {
            let params = vec![0.5; graph.params.len()];
            drop(sci_hpc::model::Autoencoder::new(Cpu::<f32>::new(), graph, &params));
        }
    });
}

/// The decoder in an archive, the same way; what is read is also run.
#[test]
fn changed_decoders_are_read_or_refused() {
    let model = small_model();
    let symbols = vec![3; model.graph.latent().len()];
    let how = Quantization { step: 0.05, weight_bits: 8, calibration: &symbols, largest: &|own| own };
    let parts = (&model.graph.decoder, &model.graph.params, &model.params[..]);
    let decoder = IntegerDecoder::quantize(&Cpu::<f64>::new(), parts, &how).unwrap();
    try_changes("decoder", &decoder.to_bytes(&encode_weights), 100, |bytes| {
        let Ok(decoder) = IntegerDecoder::from_bytes(bytes, &decode_weights) else { return };
        if decoder.sample().len().max(decoder.latent().len()) < 10_000 {
            decoder.decode(&Cpu::<f64>::new(), &vec![3; decoder.latent().len()]);
        }
    });
}

/// What fuzz/fuzz_targets/stream.rs does: six bytes say what is read, its type and extents; then the stream.
fn read_stream(data: &[u8]) {
    const TYPES: [ElementType; 4] = [ElementType::F32, ElementType::F64, ElementType::I16, ElementType::U8];
    let Some((head, bytes)) = data.split_first_chunk::<6>() else { return };
    let extent = |i: usize| 1 + usize::from(head[i] % 12);
    let shape = [extent(2), extent(3), extent(4), extent(5)];
    match head[0] % 3 {
        0 => drop(decode_latent(bytes, LatentShape { steps: shape[0], cells: shape[1], channels: shape[2] })),
        1 => drop(Mask::from_bytes(bytes)),
        _ => {
            let prediction = vec![0.5f32; shape.iter().product()];
            let prediction = needs_prediction(bytes).then_some(&prediction[..]);
            let element = TYPES[usize::from(head[1]) % TYPES.len()];
            drop(decode_tile(bytes, &TileFrame { shape, element, mask: None, prediction }));
        }
    }
}

/// Streams of an archive, behind their hashes.
#[test]
fn changed_streams_are_read_or_refused() {
    const SHAPE: [usize; 4] = [3, 5, 8, 9];
    let limits = Limits { abs: Some(1e-3), ..Limits::default() };
    let tile = |values: &[f32], predictor| {
        let spec = TileSpec { predictor, ..TileSpec::new(SHAPE, Bound::Within(limits)) };
        let given = (predictor == Predictor::Given).then(|| vec![0.5; values.len()]);
        encode_tile(&Values::F32(values.to_vec()), given.as_deref(), &spec).unwrap()
    };
    let mut values: Vec<f32> =
        noise(3, 1080).iter().zip(0..).map(|(v, i)| (0.01 * v) as f32 + i as f32 * 0.02).collect();
    let with = |head: [u8; 6], stream: &[u8]| [&head[..], stream].concat();
    for (name, predictor) in [
        ("stream interpolated", Predictor::Interpolation),
        ("stream by neighbors", Predictor::Lorenzo),
        ("stream by transform", Predictor::Linear),
        ("stream of residuals", Predictor::Given),
    ] {
        try_changes(name, &with([2, 0, 2, 4, 7, 8], &tile(&values, predictor).stream), 40, read_stream);
    }
    let symbols: Vec<i32> = noise(4, 120).iter().map(|v| (v * 9.0) as i32).collect();
    let latents = encode_latent(&symbols, LatentShape { steps: 3, cells: 5, channels: 8 });
    try_changes("stream of latents", &with([0, 0, 2, 4, 7, 0], &latents), 40, read_stream);
    let few: Vec<i32> = symbols.iter().enumerate().map(|(i, &q)| if i % 7 == 0 { q } else { 0 }).collect();
    let gaps = encode_latent(&few, LatentShape { steps: 3, cells: 5, channels: 8 });
    try_changes("stream of gaps", &with([0, 0, 2, 4, 7, 0], &gaps), 40, read_stream);
    values.iter_mut().step_by(3).for_each(|v| *v = f32::NAN);
    let mask = tile(&values, Predictor::Auto).mask.unwrap().to_bytes();
    try_changes("stream of a mask", &with([1, 0, 0, 0, 0, 0], &mask), 40, read_stream);
}

//! Images of small-angle scattering: made, coded and given back.

use sci_hpc::archive::{Box4, Source, Values};

use super::process::{folder, mpirun, write};
use super::toy::finish;

const JOB: &str = "\
job: {name: sas, output: out}
generate: {name: sas, snapshots: 7, pixels: [48, 40], distance_m: 1.5, beam_stop_mm: 12, beam_mm: 2, frames: 3,
  particles: [sphere, lamella]}
";

#[test]
fn scattering_is_coded_without_loss_and_comes_back_whole() {
    let here = folder("sas_whole");
    write(&here, "job.yaml", &format!("{JOB}compress: {{error_bound: {{abs: 0.4}}}}\ndecompress: {{}}\n"));
    finish(&here, 2, &[]);
    let [made, back] = ["generate", "decompressed"].map(|stage| here.join("out").join(stage).join("sas.nc"));
    let [made, back] = [made, back].map(|path| Source::open(&path).unwrap());
    let names: Vec<&str> = made.variables().iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["sasentry/sasdata/I"], "what `all` means");
    let counts = made.variable(names[0]).unwrap();
    assert_eq!((counts.shape, counts.has_time), ([7, 1, 40, 48], true));
    let stored = made.read(counts, &Box4::whole(counts.shape)).unwrap();
    assert_eq!(back.read(back.variable(names[0]).unwrap(), &Box4::whole(counts.shape)).unwrap(), stored);
    let Values::U32(numbers) = &stored.values else { panic!("{:?}", counts.element) };
    let mask = made.read_all("sasentry/sasdata/mask").unwrap().1.to_f64();
    assert!(numbers.iter().zip(mask.iter().cycle()).all(|(&n, &m)| (n == u32::MAX) == (m != 0.0)));
    // Masked pixels are missing, not numbers.
    let valid = counts.valid(&stored).unwrap();
    assert_eq!(valid.iter().filter(|valid| !**valid).count(), 7 * mask.iter().filter(|m| **m != 0.0).count());
    let report = std::fs::read_to_string(here.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(metrics["generate"]["snapshots"], 7);
    assert_eq!(metrics["compress"]["variables"][names[0]]["max_abs_error"], 0.0);
    assert!(metrics["compress"]["variables"][names[0]]["ratio"].as_f64().unwrap() > 2.0);
}

#[test]
fn scattering_keeps_its_curve_within_its_noise_also_with_a_model_that_is_there() {
    let here = folder("sas_curve");
    let learned = "data: {variables: images, scale: anscombe, normalize: global, split: {train: 0.8, order: time}}
train: {model: {name: dense, hidden: [16], latent: 4}, epochs: 2, batch: 4, shards: 2}
compress: {error_bound: {iq_sigma: 0.5}}
decompress: {}
";
    write(&here, "job.yaml", &format!("{JOB}{learned}"));
    let archive = |run: &str| std::fs::read(here.join(run).join("archive/sas.nc.sci.h5")).unwrap();
    finish(&here, 1, &[]);
    let sets = |output: &'static str| ["--set", output, "--set", "data.inputs=[out/generate/sas.nc]"];
    finish(&here, 2, &[&sets("job.output=again")[..], &["--set", "compress.model=out/model.h5"]].concat());
    assert!(archive("out") == archive("again"), "2 ranks and a model of before give other bytes");
    let report = std::fs::read_to_string(here.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&report).unwrap();
    let of = |key: &str| metrics["compress"]["variables"]["sasentry/sasdata/I"][key].as_f64().unwrap();
    assert!(of("iq_error_sigma") > 0.0 && of("iq_error_sigma_max") <= 0.5 && of("ratio") > 20.0, "{metrics}");
    let counts = |path: &str| {
        let source = Source::open(&here.join(path)).unwrap();
        let variable = source.variable("sasentry/sasdata/I").unwrap().clone();
        source.read(&variable, &Box4::whole(variable.shape)).unwrap().values.to_f64()
    };
    let [made, back] = ["out/generate/sas.nc", "out/decompressed/sas.nc"].map(counts);
    let masked = f64::from(u32::MAX);
    assert!(made.iter().zip(&back).all(|(a, b)| (*a == masked) == (*b == masked)), "masked pixels stay what they are");
    for (made, back) in made.chunks(40 * 48).zip(back.chunks(40 * 48)) {
        let total = |image: &[f64]| image.iter().filter(|n| **n != masked).sum::<f64>();
        // By Cauchy and Schwarz, over fewer than 100 rings.
        assert!((total(made) - total(back)).abs() <= 0.5 * (100.0 * total(made)).sqrt());
    }
    let refused = |sets: &[&str], code: i32, words: &[&str]| {
        mpirun(&here, 1, "", &[&["--config", "job.yaml", "--fresh"], sets].concat()).refused(code, words);
    };
    refused(&["--set", "compress.error_bound.abs=1"], 2, &["compress.error_bound.iq_sigma", "stands alone"]);
    refused(&["--set", "compress.tile.cells=[1, 20, 20]"], 2, &["compress.tile.cells", "whole images"]);
    refused(&["--set", "data.scale=sqrt"], 2, &["data.scale", "anscombe"]);
}

/// Images of others: counts, a mask of their pixels, and a hot pixel that it does not have.
#[test]
fn pixels_that_measured_nothing_are_kept_and_do_not_count() {
    let here = folder("sas_mask");
    let (images, n) = (9, 32);
    let size = n * n;
    let noise = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24) - 0.5;
    let count = |i: usize| {
        let [y, x] = [(i % size / n) as f64 - 15.5, (i % n) as f64 - 15.0];
        let mean = (300.0 + 40.0 * (i / size) as f64) * (-(y * y + x * x) / 90.0).exp() + 1.0;
        (mean + (12.0 * mean).sqrt() * noise(i)).round().max(0.0) as u32
    };
    let [hot, odd] = [5 * n + 20, 25 * n + 9];
    let behind = |p: usize| p / n >= 15 && (14..17).contains(&(p % n)) || p == odd;
    let value = |i: usize| match i % size {
        p if p == odd => 70_000 + i as u32,
        p if behind(p) => (i % 3) as u32,
        p if p == hot => 3_000_000 - i as u32,
        _ => count(i),
    };
    let counts: Vec<u32> = (0..images * size).map(value).collect();
    let mask: Vec<u8> = (0..size).map(|p| u8::from(!behind(p))).collect();
    let make = |pixels: usize, group: &str| {
        let file = hdf5::File::create(here.join("images.h5")).unwrap();
        let [images_at, mask_at] = ["counts", "mask"].map(|name| format!("{group}{name}"));
        let builder = || file.new_dataset_builder();
        let (shape, of_mask) = ([images, n, n], [pixels / n, n]);
        ndarray::ArrayView::from_shape(shape, &counts)
            .map(|a| builder().with_data(&a).create(&*images_at))
            .unwrap()
            .unwrap();
        let mask = ndarray::ArrayView::from_shape(of_mask, &mask[..pixels]);
        mask.map(|a| builder().with_data(&a).create(&*mask_at)).unwrap().unwrap();
    };
    make(size, "entry/");
    let job = "job: {name: sas, output: out}\ndata: {inputs: [images.h5], variables: images}
compress: {error_bound: {iq_sigma: 0.5}, tile: {steps: 4}}\ndecompress: {}\n";
    write(&here, "job.yaml", job);
    let log = finish(&here, 2, &[]);
    let out = mask.iter().filter(|m| **m == 0).count();
    let told = format!("`entry/counts`: {out} of 1024 pixels are out: `entry/mask` is 0 there, as in the fewer;");
    assert!(log.contains(&told) && log.contains("beam at y 15.5, x 15 (pixels from 0); 9 values are found"), "{log}");
    let back = hdf5::File::open(here.join("out/decompressed/images.h5")).unwrap();
    assert_eq!(back.dataset("entry/mask").unwrap().read_raw::<u8>().unwrap(), mask);
    let back = back.dataset("entry/counts").unwrap().read_raw::<u32>().unwrap();
    let kept = |i: usize| behind(i % size) || i % size == hot;
    assert!((0..counts.len()).filter(|&i| kept(i)).all(|i| back[i] == counts[i]), "bit for bit");
    let [mut error, mut noise] = [0.0; 2];
    for i in (0..counts.len()).filter(|&i| !kept(i)) {
        error += (f64::from(back[i]) - f64::from(counts[i])).powi(2);
        noise += f64::from(counts[i]);
    }
    assert!(error > 0.0 && error < 2.0 * noise, "{error} {noise}");
    let report = std::fs::read_to_string(here.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&report).unwrap();
    let of = |key: &str| metrics["compress"]["variables"]["entry/counts"][key].as_f64().unwrap();
    let told = &metrics["compress"]["variables"]["entry/counts"];
    assert_eq!((&told["beam_center"]["y"][1], &told["defects"]), (&15.5.into(), &images.into()));
    assert!(of("iq_error_sigma_max") <= 0.5 && of("iq_error_sigma") > 0.1 && of("ratio") > 20.0, "{metrics}");
    // A mask of other images is named, and not taken.
    make(16 * n, "");
    let log = finish(&here, 1, &["--fresh"]);
    assert!(log.contains("`mask` is kept, not used: u8 [16, 32], not a number for each of [32, 32] pixels"), "{log}");
}

#[test]
fn scattering_has_the_same_bytes_at_every_rank_count_and_after_a_stop() {
    let here = folder("sas_ranks");
    write(&here, "job.yaml", JOB);
    let run = |ranks: usize| {
        let output = format!("job.output=run{ranks}");
        mpirun(&here, ranks, "", &["--config", "job.yaml", "--set", &output]).answer();
        std::fs::read(here.join(format!("run{ranks}/generate/sas.nc"))).unwrap()
    };
    let one = run(1);
    for ranks in [2, 3] {
        assert!(run(ranks) == one, "{ranks} ranks");
    }
    let arguments = ["--config", "job.yaml"];
    for (ranks, step) in [(2, 0), (3, 4), (1, 5)] {
        let stop = format!("stop:rank=0:stage=generate:step={step}");
        mpirun(&here, ranks, &stop, &arguments).refused(75, &["stopped in stage generate"]);
        assert!(!here.join("out/generate/sas.nc").exists());
    }
    let last = mpirun(&here, 2, "", &arguments);
    last.answer();
    assert!(last.stderr.contains("goes on after step 5"), "{}", last.stderr);
    assert!(std::fs::read(here.join("out/generate/sas.nc")).unwrap() == one, "bytes after stops");
}

#[test]
fn scattering_refuses_instruments_that_see_nothing() {
    let here = folder("sas_refused");
    write(&here, "job.yaml", JOB);
    let refused = |set: &str, words: &[&str]| {
        mpirun(&here, 1, "", &["--config", "job.yaml", "--set", set]).refused(2, words);
    };
    refused("generate.beam_stop_mm=40", &["generate.beam_stop_mm", "40"]);
    refused("generate.widths=[0.2, 0.4]", &["generate.widths[1]", "0.25"]);
    refused("generate.particles=[ball]", &["generate.particles", "core-shell"]);
    refused("generate.buildings=3", &["generate.buildings", "not a key of generator `sas`"]);
}

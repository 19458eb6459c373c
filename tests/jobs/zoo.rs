//! Models with attention, batch norm and GDN in a whole job.

use serde_json::Value;

use super::process::{folder, mpirun, write};
use super::toy::{JOB, finish};

/// Two samples per shard: batch norms at the innermost point need more than one value.
const MODEL: [&str; 4] = ["--set", "train.model={name: tucodec, channels: 2}", "--set", "train.shards=2"];

#[test]
fn model_without_an_exact_decoder_assimilates_and_leaves_compression_to_the_classical_predictors() {
    let here = folder("zoo-whole");
    write(&here, "job.yaml", JOB);
    let said = finish(&here, 2, &MODEL);
    assert_eq!(said.matches("the classical predictors do its work").count(), 2, "once per model: {said}");
    let metrics: Value = serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap();
    for name in ["u", "w", "tracer"] {
        let variable = &metrics["compress"]["variables"][name];
        assert_eq!(
            (&variable["tiles"]["learned"], &variable["bound_violations"]),
            (&0.into(), &0.into()),
            "{variable}"
        );
    }
    let methods = metrics["assimilate"]["methods"].as_array().unwrap();
    let reduced: Vec<_> = methods.iter().filter(|method| method["name"] == "bi-reduced").collect();
    assert!(!reduced.is_empty());
    assert!(reduced.iter().all(|method| method["da_mse"].as_f64().is_some_and(|e| e > 0.0)), "{reduced:?}");
}

#[test]
fn learned_compression_by_such_a_model_is_refused_before_it_is_trained() {
    let here = folder("zoo-learned");
    write(&here, "job.yaml", JOB);
    for set in ["compress.predictor=learned", "compress.error_bound={}", "compress.variables.u.error_bound={}"] {
        let learned = [&["--config", "job.yaml", "--set", set][..], &MODEL].concat();
        mpirun(&here, 2, "", &learned)
            .refused(2, &["train.model", "tucodec", "without an exact form", "predictor: auto"]);
    }
    // One that is there is refused where it is used.
    let train =
        ["--config", "job.yaml", "--set", "compress=null", "--set", "decompress=null", "--set", "assimilate=null"];
    mpirun(&here, 1, "", &[&train[..], &MODEL].concat()).answer();
    let given = ["--set", "train=null", "--set", "assimilate=null", "--set", "compress.predictor=learned"];
    let given = [&["--config", "job.yaml", "--set", "job.output=given"][..], &given].concat();
    let given =
        [&given[..], &["--set", "compress.model=out/models", "--set", "data.inputs=[out/generate/urban-flow.nc]"]]
            .concat();
    mpirun(&here, 1, "", &given).refused(4, &["exact decoder", "without an exact form"]);
}

//! Text of a job file: a job or a refusal; what is a job prints as one that loads as itself.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sci_hpc::config;

fuzz_target!(|text: &str| {
    let path = Path::new("job.yaml");
    if let Ok(job) = config::parse(path, text, &[]) {
        let again = config::parse(path, &config::to_yaml(&job), &[]);
        assert_eq!(again.expect("a printed job loads"), job);
    }
});

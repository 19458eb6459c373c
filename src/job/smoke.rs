//! `--smoke`: one tiny batch through every stage.

use crate::config::Job;

/// Makes the job as small as it can be and puts its output beside the real one. Stages that read given inputs also
/// look at [`super::Context::smoke`].
pub(super) fn shrink(job: &mut Job) {
    const SNAPSHOTS: usize = 6; // four train, two check, at the usual split
    let mut output = job.job.output.clone().into_os_string();
    output.push(".smoke");
    job.job.output = output.into();
    if let Some(generate) = &mut job.generate {
        generate.snapshots = generate.snapshots.min(SNAPSHOTS);
        generate.spin_up_s = 0.0;
    }
    if let Some(train) = &mut job.train {
        train.epochs = 1;
    }
    if let Some(assimilate) = &mut job.assimilate {
        assimilate.states = Some(1);
    }
}

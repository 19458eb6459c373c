//! Checkpoints of a training: the last whole one comes back.

use sci_hpc::dataset::Cursor;
use sci_hpc::train::{Checkpoint, Epoch, Identity, Running, TrainError};
use sci_hpc::world::World;

fn identity() -> Identity {
    Identity { model: "m".into(), data: "d".into(), settings: "s".into() }
}

fn checkpoint(steps: u64) -> Checkpoint {
    let epoch = Epoch {
        epoch: 1,
        loss_train: 0.1 + 0.2,
        loss_valid: 3.0,
        rel_l2_valid: 0.25,
        bits_valid: 512.0,
        gradient_norm: 1e-300,
        seconds: 2.0,
    };
    Checkpoint {
        params: vec![0.1, -2.0, f32::MIN_POSITIVE],
        first: vec![1.0, 2.0, 3.0],
        second: vec![4.0, 5.0, 6.0],
        steps,
        next: Cursor { epoch: 3, batch: 7 },
        running: Running { loss: 1.0 / 3.0, samples: 12.0, gradient_norm: 5.0, seconds: 0.5 },
        epochs: vec![epoch; 2],
    }
}

#[test]
fn last_checkpoint_comes_back_and_old_ones_go() {
    let folder = std::env::temp_dir().join(format!("sci-hpc-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let world = World::serial();
    let latest = || Checkpoint::read_latest(&world, &folder, &identity());
    assert_eq!(latest().unwrap().0, None);
    for steps in [5, 10, 100] {
        checkpoint(steps).write(&folder, &identity(), 2).unwrap();
    }
    assert_eq!(latest().unwrap().0, Some(checkpoint(100)));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    let other = Identity { data: "other".into(), ..identity() };
    assert!(matches!(
        Checkpoint::read_latest(&world, &folder, &other),
        Err(TrainError::OtherRun { what: "set of data", .. })
    ));
    // Of RMSprop there are no first moments.
    let one = Checkpoint { first: Vec::new(), ..checkpoint(100) };
    one.write(&folder, &identity(), 2).unwrap();
    assert_eq!(latest().unwrap().0, Some(one));
    // A damaged one is left out, with the reason; of nothing but damaged ones the last is named.
    std::fs::write(folder.join("step-00000100.h5"), b"not what was written").unwrap();
    let (found, damaged) = latest().unwrap();
    assert_eq!(found, Some(checkpoint(10)));
    assert!(matches!(&damaged[..], [error] if error.to_string().contains("step-00000100.h5")), "{damaged:?}");
    std::fs::write(folder.join("step-00000010.h5"), b"").unwrap();
    assert!(latest().unwrap_err().to_string().contains("step-00000100.h5"));
    std::fs::remove_dir_all(&folder).unwrap();
}

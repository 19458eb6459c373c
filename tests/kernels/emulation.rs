//! The emulation finds the faults that it is there for.

use sci_hpc::backend::elementwise::Elementwise;
use sci_hpc::backend::gpu::{
    Argument, Driver, Emulated, Gpu, GpuBuffer, GpuError, Grid, Kernel, Math, Order, Region, Source,
};
use sci_hpc::backend::{Buffers, Record};

static FAULTS: Source = Source { name: "faults.cu", text: "", elements: &["f32", "f64"] };

/// Runs a kernel on one block over 1, 2, .., 64 into memory that nothing has written.
fn run(name: &'static str, order: Order) -> Result<Vec<f32>, String> {
    let device = Emulated::new(order);
    let bytes = 64 * size_of::<f32>();
    let [x, z] = [(); 2].map(|()| Region { address: device.allocate(bytes).unwrap(), bytes: bytes as u64 });
    let values: Vec<f32> = (1..=64).map(|i| i as f32).collect();
    device.upload(bytemuck::cast_slice(&values), x).unwrap();
    let kernel = Kernel { source: &FAULTS, element: "f32", name };
    let done = device.launch(&kernel, &Grid::line(1, 64), &[Argument::In(x), Argument::Out(z)]);
    let mut out = vec![0f32; 64];
    device.download(z, bytemuck::cast_slice_mut(&mut out)).unwrap();
    [x, z].iter().for_each(|memory| device.free(memory.address));
    done.map(|()| out).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(name: &'static str, words: &str) {
    let message = run(name, Order::Forwards).unwrap_err();
    assert!(message.contains(words), "{message}");
}

#[test]
fn access_beside_an_argument_is_told_with_block_and_thread() {
    refused("beyond", "block (0, 0, 0), thread (63, 0, 0): elements 64..65 of an argument of 64");
    refused("before", "thread (0, 0, 0): elements -1..0 of an argument of 64");
}

#[test]
fn barrier_that_some_threads_miss_is_told() {
    refused("parted", "of 64 threads 32 wait at a barrier of the block, 0 at one of their warp, 32 have ended");
    refused("half_warp", "of 64 threads 0 wait at a barrier of the block, 32 at one of their warp, 32 have ended");
}

#[test]
fn missing_barrier_gives_other_values_backwards_and_a_forgotten_element_is_not_a_number() {
    let [forwards, backwards] = [Order::Forwards, Order::Backwards].map(|order| run("unordered", order).unwrap());
    assert_ne!(forwards, backwards);
    assert!(forwards[0].is_nan() && backwards[63].is_nan(), "shared memory is not a number before it is written");
    let forgetful = run("forgetful", Order::Forwards).unwrap();
    assert_eq!(forgetful.iter().position(|v| v.is_nan()), Some(7));
}

#[test]
fn arguments_of_another_type_number_or_direction_are_refused() {
    let device = Emulated::default();
    let memory = Region { address: device.allocate(256).unwrap(), bytes: 256 };
    let launch = |arguments: &[Argument]| {
        let kernel = Kernel { source: &FAULTS, element: "f32", name: "beyond" };
        device.launch(&kernel, &Grid::line(1, 64), arguments).unwrap_err().to_string()
    };
    let (read, written) = (Argument::In(memory), Argument::Out(memory));
    assert!(launch(std::slice::from_ref(&read)).contains("1 arguments for 2 parameters"));
    assert!(launch(&[read.clone(), read.clone()]).contains("argument 1: memory to be written is expected"));
    assert!(launch(&[written.clone(), written]).contains("argument 0: memory to be read is expected"));
    assert!(launch(&[Argument::U32(1), Argument::Out(memory)]).contains("argument 0: memory to be read is expected"));
    device.free(memory.address);
}

/// What ends a job when `work` does.
fn panic_of<T>(work: impl FnOnce() -> T) -> GpuError {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map(drop).unwrap_err();
    *caught.downcast().expect("an error of the device")
}

#[test]
fn full_memory_takes_back_what_is_free_unless_recorded_work_knows_it() {
    const KIB: usize = 256; // numbers
    let gpu = || Gpu::<_, f32>::new(Emulated::with_memory(16 << 10), Math::Exact);
    // 1. What is free makes room; then the sizes are told.
    let device = gpu();
    drop(device.zeros(8 * KIB));
    let held = device.zeros(12 * KIB);
    let error = panic_of(|| device.zeros(8 * KIB));
    assert!(matches!(error, GpuError::Memory { bytes: 8192, live: 12288 }), "{error}");
    drop(held);
    // 2. So it does for what is recorded.
    let device = gpu();
    drop(device.zeros(8 * KIB));
    let x = device.upload(&vec![1.5; 4 * KIB]);
    let double = |device: &Gpu<_, f32>, x: &GpuBuffer<_, f32>| device.affine(x, 2.0, 0.0);
    let (recording, y) = device.record(&[&x], |device, x| double(device, &x[0])).expect("a device that records");
    device.replay(&recording, &[&x]);
    assert_eq!(device.download(&y), vec![3.0; 4 * KIB]);
    drop((recording, y));
    // 3. Memory that recorded calls write stays, though it is free by then.
    let error = panic_of(|| {
        device.record(&[&x], |device, x| {
            drop(double(device, &x[0]));
            device.zeros(6 * KIB)
        })
    });
    assert!(matches!(error, GpuError::Memory { bytes: 6144, live: 4096 }), "{error}");
}

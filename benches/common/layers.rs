//! Convolutions that models are made of.

use sci_hpc::backend::conv3d::ConvDims;

/// A layer on a grid: kernel, stride, padding in `window`.
fn layer(n: usize, channels: [usize; 2], input: [usize; 3], window: [[usize; 3]; 3]) -> ConvDims {
    let [kernel, stride, padding] = window;
    let output = std::array::from_fn(|a| (input[a] + 2 * padding[a] - kernel[a]) / stride[a] + 1);
    ConvDims { n, c_in: channels[0], c_out: channels[1], input, output, kernel, stride, padding }
}

/// The encoder of the backbone on its grid.
pub fn backbone(batch: usize) -> Vec<ConvDims> {
    let windows = [
        ([1, 1], [[3, 3, 2], [1; 3], [0; 3]]),
        ([1, 16], [[3; 3], [1; 3], [0; 3]]),
        ([16, 64], [[3; 3], [2; 3], [0, 1, 1]]),
        ([64, 32], [[3; 3], [2; 3], [0, 1, 0]]),
        ([32, 32], [[3; 3], [2; 3], [1, 1, 0]]),
        ([32, 32], [[3, 3, 2], [2, 2, 1], [0; 3]]),
        ([32, 32], [[3, 3, 2], [2, 2, 1], [1, 1, 0]]),
    ];
    let mut grid = [91, 85, 32];
    windows
        .map(|(channels, window)| {
            let layer = layer(batch, channels, grid, window);
            grid = layer.output;
            layer
        })
        .into()
}

/// Other shapes: pointwise, same-size, odd channel counts.
pub fn others(batch: usize) -> Vec<ConvDims> {
    let same = [[3; 3], [1; 3], [1; 3]];
    let point = [[1; 3], [1; 3], [0; 3]];
    vec![
        layer(batch, [64, 64], [23, 21, 8], point),
        layer(batch, [64, 16], [23, 21, 8], point),
        layer(batch, [16, 16], [23, 21, 8], same),
        layer(batch, [64, 64], [23, 21, 8], same),
        layer(batch, [128, 256], [9, 9, 9], same),
        layer(batch, [256, 256], [3, 3, 3], same),
        layer(batch, [3, 5], [45, 42, 16], same),
        layer(batch, [2, 3], [45, 42, 16], same),
        layer(batch, [1, 64], [91, 85, 32], [[3, 3, 2], [2; 3], [1, 1, 0]]),
        layer(batch, [64, 1], [45, 42, 16], same),
        layer(batch, [1, 1], [91, 85, 32], same),
    ]
}

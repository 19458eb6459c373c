//! Two perceptual color maps: sequential (viridis) and diverging (blue - white - red).

/// Nine evenly spaced anchors of viridis (Smith and van der Walt 2015, CC0).
const SEQUENTIAL: [[u8; 3]; 9] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [109, 205, 89],
    [253, 231, 37],
];

/// Blue to red through near-white, anchors of ColorBrewer RdBu reversed.
const DIVERGING: [[u8; 3]; 9] = [
    [33, 102, 172],
    [67, 147, 195],
    [146, 197, 222],
    [209, 229, 240],
    [247, 247, 247],
    [253, 219, 199],
    [244, 165, 130],
    [214, 96, 77],
    [178, 24, 43],
];

/// Masked cells.
pub(super) const MASKED: [u8; 3] = [200, 200, 200];

/// Colors of curves, distinguishable with color-vision deficiency (Okabe and Ito).
pub(super) const CURVES: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0], [80, 80, 80]];

/// The color at `fraction` (clamped to 0..1) of a map.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn at(fraction: f32, diverging: bool) -> [u8; 3] {
    let map = if diverging { &DIVERGING } else { &SEQUENTIAL };
    let position = fraction.clamp(0.0, 1.0) * (map.len() - 1) as f32;
    let lower = (position as usize).min(map.len() - 2);
    let t = position - lower as f32;
    std::array::from_fn(|i| {
        let (a, b) = (f32::from(map[lower][i]), f32::from(map[lower + 1][i]));
        (a + t * (b - a)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn maps_start_and_end_at_their_anchors() {
        assert_eq!(super::at(0.0, false), [68, 1, 84]);
        assert_eq!(super::at(1.0, false), [253, 231, 37]);
        assert_eq!(super::at(0.5, true), [247, 247, 247]);
        assert_eq!(super::at(7.0, true), [178, 24, 43]);
    }
}

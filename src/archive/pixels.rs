//! The mask beside images of a detector: which of their pixels are no measurements.

use std::sync::Arc;

use super::attributes::Attributes;
use super::axes::leaf;
use super::contents::{Contents, Header};
use super::{ArchiveError, Box4, Source, Values, Variable};

/// What a mask is called, in the group of the images or above it; the last by NeXus (NXdetector).
const NAMES: [&str; 3] = ["mask", "detector_mask", PIXEL_MASK];
const PIXEL_MASK: &str = "pixel_mask";

/// Pixels of images that are no measurements: behind a beam stop, in gaps, dead or hot.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelMask {
    /// Full name of the dataset.
    pub name: String,
    /// Extents along y and x.
    pub n: [usize; 2],
    /// Which pixels are out.
    pub out: Arc<[bool]>,
    /// How that was known, for people.
    pub reason: String,
}

impl PixelMask {
    /// What the numbers of a mask of `n` pixels say: by its attributes, as NeXus has it, or that most pixels measure.
    pub(crate) fn new(name: &str, n: [usize; 2], values: &Values, attributes: &Attributes) -> Self {
        let set: Vec<bool> = (0..values.len()).map(|i| values.get_f64(i) != 0.0).collect();
        let (good, how) = match good_value(attributes) {
            Some(good) => (good, "says an attribute"),
            None if leaf(name) == PIXEL_MASK => (false, "as NeXus has it"),
            None => (2 * set.iter().filter(|set| **set).count() > set.len(), "as in the fewer"),
        };
        let out: Arc<[bool]> = set.iter().map(|&set| set != good).collect();
        let (count, value) = (out.iter().filter(|out| **out).count(), if good { "0" } else { "not 0" });
        let reason = format!("{count} of {} pixels are out: `{name}` is {value} there, {how}", out.len());
        Self { name: name.into(), n, out, reason }
    }

    /// The part of a box (t, z, y, x) of images; `None` if nothing of it is out.
    pub(crate) fn cut(&self, region: &Box4) -> Option<Vec<bool>> {
        let [y, x] = [region.start[2], region.start[3]];
        let row = |y: usize| &self.out[y * self.n[1] + x..][..region.len[3]];
        let cut: Vec<bool> = (y..y + region.len[2]).flat_map(row).copied().collect();
        cut.contains(&true).then_some(cut)
    }
}

/// Whether a dataset of this name may be a mask of images.
pub(crate) fn is_mask(name: &str) -> bool {
    NAMES.contains(&leaf(name))
}

/// The names that the mask of images may have, the nearest first.
fn names_beside(images: &str) -> Vec<String> {
    let folders = std::iter::successors(Some(images), |name| name.rsplit_once('/').map(|(folder, _)| folder));
    let folders = folders.skip(1).map(|folder| format!("{folder}/")).chain([String::new()]);
    folders.flat_map(|folder| NAMES.map(|name| format!("{folder}{name}"))).collect()
}

fn beside<'c>(contents: &'c Contents, images: &Variable) -> impl Iterator<Item = &'c Header> {
    names_beside(&images.name).into_iter().filter_map(|name| contents.header(&name))
}

fn extents(header: &Header) -> Vec<usize> {
    header.dims.iter().map(|d| d.len).collect()
}

/// The mask of images, if there is one of their pixels.
pub(crate) fn mask_of(
    source: &Source,
    contents: &Contents,
    images: &Variable,
) -> Result<Option<PixelMask>, ArchiveError> {
    let [_, Some(y), Some(x)] = images.layout.space else { return Ok(None) };
    let n = [y, x].map(|d| images.dims[d].len);
    let fits = |header: &&Header| y < x && header.element.is_some() && extents(header) == n;
    let Some(header) = beside(contents, images).find(fits) else { return Ok(None) };
    let (_, values) = source.read_all(&header.name)?;
    Ok(Some(PixelMask::new(&header.name, n, &values, &header.attributes)))
}

/// What is told of the mask of images: what is out, or why what is called so is no mask of theirs.
pub(crate) fn note(contents: &Contents, images: &Variable) -> Option<String> {
    if let Some(mask) = &images.mask {
        return Some(format!("`{}`: {}", images.name, mask.reason));
    }
    let header = beside(contents, images).next()?;
    let ([_, _, ny, nx], found) = (images.shape, extents(header));
    let (name, type_name) = (&header.name, &header.type_name);
    Some(format!(
        "`{}`: `{name}` is not used: {type_name} {found:?}, not a number for each of [{ny}, {nx}] pixels",
        images.name
    ))
}

/// Whether pixels that measure are those that are not 0, where attributes tell.
fn good_value(attributes: &Attributes) -> Option<bool> {
    if attributes.get("flag_masks").is_some() {
        return Some(false);
    }
    let texts = ["meaning", "flag_meanings", "long_name", "description", "comment"];
    let text = texts.iter().filter_map(|name| attributes.text(name)).collect::<Vec<_>>().join(" ; ");
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect();
    let good = |word: &String| matches!(word.as_str(), "good" | "valid" | "ok" | "unmasked" | "used");
    let bad = |word: &String| matches!(word.as_str(), "bad" | "invalid" | "masked" | "dead" | "stop" | "excluded");
    let number = |at: Option<usize>| words.get(at?)?.parse::<u64>().ok();
    // "1 good", "0: masked"; else "good = 1".
    let says = |beside: &dyn Fn(usize) -> Option<usize>| {
        (0..words.len()).find_map(|at| match number(beside(at))? {
            value if good(&words[at]) => Some(value != 0),
            value if bad(&words[at]) => Some(value == 0),
            _ => None,
        })
    };
    says(&|at| at.checked_sub(1)).or_else(|| says(&|at| Some(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(name: &str, text: Option<(&str, &str)>, values: &[u8]) -> Vec<bool> {
        let mut attributes = Attributes::default();
        text.into_iter().for_each(|(name, text)| attributes.put_text(name, text));
        PixelMask::new(name, [1, values.len()], &Values::U8(values.to_vec()), &attributes).out.to_vec()
    }

    #[test]
    fn what_a_mask_takes_out_is_told_by_its_attributes_its_name_or_its_numbers() {
        let [ones, zeros] = [[true, true, false], [false, false, true]];
        let text = |text| Some(("meaning", text));
        assert_eq!(out("a/mask", None, &[1, 1, 0]), zeros);
        assert_eq!(out("a/mask", None, &[0, 0, 4]), zeros);
        assert_eq!(out("mask", None, &[1, 1, 1]), [false; 3]);
        assert_eq!(out("a/pixel_mask", None, &[1, 1, 0]), ones);
        assert_eq!(out("mask", text("1 good pixel, 0 beam stop"), &[0, 0, 1]), ones);
        assert_eq!(out("mask", text("0 = good, 1 = bad"), &[1, 1, 0]), ones);
        assert_eq!(out("mask", text("good: 0"), &[1, 1, 0]), ones);
        assert_eq!(out("mask", text("pixels that count"), &[1, 1, 0]), zeros);
        assert_eq!(out("mask", Some(("flag_masks", "1")), &[1, 1, 0]), ones);
    }

    #[test]
    fn masks_lie_beside_images_or_above_and_are_cut_like_them() {
        let names = names_beside("entry/data/counts");
        assert!(names[0] == "entry/data/mask" && names.contains(&"entry/pixel_mask".into()) && names[6] == "mask");
        let attributes = Attributes::default();
        let mask = PixelMask::new("mask", [2, 3], &Values::U8(vec![0, 0, 0, 0, 0, 1]), &attributes);
        let cut = |start: [usize; 4]| mask.cut(&Box4 { start, len: [4, 1, 1, 2] });
        assert_eq!((cut([3, 0, 1, 1]), cut([0, 0, 0, 1])), (Some(vec![false, true]), None));
    }
}

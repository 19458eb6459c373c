//! The mask beside images of a detector: which of their pixels are no measurements.

use std::sync::Arc;

use super::{Source, is_stored_as};
use crate::archive::attributes::Attributes;
use crate::archive::axes::leaf;
use crate::archive::contents::{Contents, Header};
use crate::archive::h5::Slab;
use crate::archive::{ArchiveError, Box4, ElementType, Values, Variable};

/// What a mask is called, in the group of the images or above it; the last by NeXus (NXdetector).
pub const MASK_NAMES: [&str; 3] = ["mask", "detector_mask", PIXEL_MASK];
const PIXEL_MASK: &str = "pixel_mask";
/// What masks of two values are in HDF5.
const BOOLEAN: &str = "bool";

/// Pixels of images that are no measurements: behind a beam stop, in gaps, dead or hot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PixelMask {
    /// Extents along y and x.
    n: [usize; 2],
    /// Which pixels are out.
    out: Arc<[bool]>,
    /// Which, and how that was known.
    reason: String,
}

impl PixelMask {
    /// What the numbers of a mask of `n` pixels say: by its attributes, as NeXus has it, or that most pixels measure.
    fn new(name: &str, n: [usize; 2], values: &Values, attributes: &Attributes) -> Self {
        let numbers: Vec<f64> = (0..values.len()).map(|i| values.get_f64(i)).collect();
        let set: Vec<bool> = numbers.iter().map(|n| *n != 0.0).collect();
        let (good, how) = match good_value(attributes) {
            Some(good) => (good, "says an attribute"),
            None if leaf(name).eq_ignore_ascii_case(PIXEL_MASK) => (false, "as NeXus has it"),
            None => {
                let most = 2 * set.iter().filter(|set| **set).count() > set.len();
                (most, "as in the fewer; its attribute `meaning` may say `1 good` or `0 good`")
            }
        };
        let out: Arc<[bool]> = set.iter().zip(&numbers).map(|(&set, n)| set != good || n.is_nan()).collect();
        let (count, value) = (out.iter().filter(|out| **out).count(), if good { "0" } else { "not 0" });
        let most = if 2 * count > out.len() { ", more than half: is that meant?" } else { "" };
        let reason = format!("{count} of {} pixels are out: `{name}` is {value} there, {how}{most}", out.len());
        Self { n, out, reason }
    }

    /// The part of a box (t, z, y, x) of images; `None` if nothing of it is out.
    pub(super) fn cut(&self, region: &Box4) -> Option<Arc<[bool]>> {
        let [y, x] = [region.start[2], region.start[3]];
        let row = |y: usize| &self.out[y * self.n[1] + x..][..region.len[3]];
        let cut = if region.len[2..] == self.n {
            self.out.clone()
        } else {
            (y..y + region.len[2]).flat_map(row).copied().collect()
        };
        cut.contains(&true).then_some(cut)
    }
}

impl Source {
    /// What is told of the masks beside images: what is out, or why what is called so is no mask of theirs.
    ///
    /// Errors: a mask that cannot be read.
    pub fn mask_notes(&self) -> Result<Vec<String>, ArchiveError> {
        let mut notes = Vec::new();
        for images in self.fields.iter().filter(|_| self.reading.images) {
            let reason = match self.pixel_mask(images)? {
                Some(mask) => Some(mask.reason.clone()),
                None => unused(&self.contents, images),
            };
            notes.extend(reason.map(|reason| format!("`{}`: {reason}", images.name)));
        }
        Ok(notes)
    }

    /// The mask beside images, read when it is first asked for.
    pub(super) fn pixel_mask(&self, images: &Variable) -> Result<Option<Arc<PixelMask>>, ArchiveError> {
        let Some(header) = images.mask.as_ref().and_then(|name| self.contents.header(name)) else { return Ok(None) };
        let mut read = self.masks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mask) = read.get(&header.name) {
            return Ok(Some(mask.clone()));
        }
        if let Some(defect) = self.defects.iter().find(|defect| is_stored_as(&defect.dataset, &header.name)) {
            return Err(self.refusal(defect));
        }
        let slab = Slab::all(&extents(header));
        let values = self.read_raw(&header.name, header.element.unwrap_or(ElementType::U8), &slab)?;
        let n = [images.shape[2], images.shape[3]];
        let mask = Arc::new(PixelMask::new(&header.name, n, &values, &header.attributes));
        read.insert(header.name.clone(), mask.clone());
        Ok(Some(mask))
    }
}

/// Whether a dataset of this name may be a mask of images.
pub(super) fn is_mask(name: &str) -> bool {
    MASK_NAMES.contains(&&*leaf(name).to_lowercase())
}

/// The name of the mask of images, if there is one of their pixels.
pub(super) fn name_beside(contents: &Contents, images: &Variable) -> Option<String> {
    let [_, Some(y), Some(x)] = images.layout.space else { return None };
    let n = [y, x].map(|d| images.dims[d].len);
    let numbers = |header: &Header| header.element.is_some() || header.type_name == BOOLEAN;
    let fits = |header: &&Header| y < x && numbers(header) && extents(header).iter().filter(|&&n| n != 1).eq(&n);
    nearest(contents, images, fits).map(|header| header.name.clone())
}

fn unused(contents: &Contents, images: &Variable) -> Option<String> {
    let header = nearest(contents, images, |_| true)?;
    let ([_, _, ny, nx], found) = (images.shape, extents(header));
    let (name, type_name) = (&header.name, &header.type_name);
    Some(format!(
        "`{name}` is kept, not used: {type_name} {found:?}, not a number for each of [{ny}, {nx}] pixels (y, x)"
    ))
}

/// What is called a mask and shares the most groups with the images.
fn nearest<'c>(contents: &'c Contents, images: &Variable, fits: impl Fn(&&'c Header) -> bool) -> Option<&'c Header> {
    let shared = |name: &str| name.split('/').zip(images.name.split('/')).take_while(|(a, b)| a == b).count();
    let own = contents.headers.iter().map(|header| (header.name.as_str(), header));
    let others = contents.other_names.iter();
    let linked = others.filter_map(|(name, first)| Some((name.as_str(), contents.header(first)?)));
    let masks = own.chain(linked).filter(|(name, header)| is_mask(name) && fits(header));
    masks.min_by_key(|(name, _)| (std::cmp::Reverse(shared(name)), name.len())).map(|(_, header)| header)
}

fn extents(header: &Header) -> Vec<usize> {
    header.dims.iter().map(|d| d.len).collect()
}

/// Whether pixels that measure are those that are not 0, where attributes tell: `flag_masks`, `flag_values` with
/// `flag_meanings` (CF 1.11, section 3.5), or words such as `1 good, 0 bad`, `good = 0`.
fn good_value(attributes: &Attributes) -> Option<bool> {
    let mut said: Vec<bool> = Vec::new();
    let meanings = attributes.text("flag_meanings").unwrap_or_default().to_lowercase();
    if attributes.get("flag_masks").is_some() {
        said.push(meanings.split([' ', '_']).any(|word| is_good(word) == Some(true)));
    }
    if let (Some(values), Some(meanings)) = (attributes.numbers("flag_values"), attributes.text("flag_meanings")) {
        let pairs = (0..values.len()).map(|i| values.get_f64(i) != 0.0).zip(meanings.split_whitespace());
        said.extend(pairs.filter_map(|(set, meaning)| {
            meaning.split('_').find_map(|word| is_good(&word.to_lowercase())).map(|good| set == good)
        }));
    }
    let texts = ["meaning", "long_name", "description"].iter().filter_map(|name| attributes.text(name));
    said.extend(texts.flat_map(said_by));
    said.first().copied().filter(|first| said.iter().all(|said| said == first))
}

/// Whether a word is for pixels that measure, or that do not.
fn is_good(word: &str) -> Option<bool> {
    match word {
        "good" | "valid" | "ok" | "unmasked" | "used" => Some(true),
        "bad" | "invalid" | "masked" | "unused" | "dead" | "hot" | "gap" | "stop" | "beamstop" | "excluded" => {
            Some(false)
        }
        _ => None,
    }
}

/// What the pairs of a number and a word in a text say, in the order of either.
fn said_by(text: &str) -> Vec<bool> {
    enum Token {
        Set(bool),
        Good(bool),
    }
    let token = |word: &str| match word.to_lowercase().as_str() {
        "zero" | "false" => Some(Token::Set(false)),
        "nonzero" | "true" => Some(Token::Set(true)),
        "0" => Some(Token::Set(false)),
        "1" | "255" => Some(Token::Set(true)),
        word => is_good(word).map(Token::Good),
    };
    let tokens = |clause: &str| clause.split(|c: char| !c.is_alphanumeric()).filter_map(token).collect::<Vec<Token>>();
    let mut said = Vec::new();
    for clause in text.split([',', ';', '.', '\n']) {
        for pair in tokens(clause).chunks_exact(2) {
            if let [Token::Set(set), Token::Good(good)] | [Token::Good(good), Token::Set(set)] = pair {
                said.push(set == good);
            }
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_by(name: &str, attributes: &Attributes, values: &[u8]) -> Vec<bool> {
        PixelMask::new(name, [1, values.len()], &Values::U8(values.to_vec()), attributes).out.to_vec()
    }

    #[test]
    fn what_a_mask_takes_out_is_told_by_its_name_or_its_numbers() {
        let [ones, zeros] = [[true, true, false], [false, false, true]];
        let none = Attributes::default();
        assert_eq!(out_by("a/mask", &none, &[1, 1, 0]), zeros);
        assert_eq!(out_by("a/mask", &none, &[0, 0, 4]), zeros);
        assert_eq!(out_by("mask", &none, &[1, 1, 1]), [false; 3]);
        assert_eq!(out_by("a/pixel_mask", &none, &[1, 1, 0]), ones);
        let blank = PixelMask::new("mask", [1, 3], &Values::F32(vec![1.0, f32::NAN, 1.0]), &none);
        assert_eq!(blank.out.to_vec(), [false, true, false]);
    }

    #[test]
    fn what_a_mask_takes_out_is_told_by_its_attributes() {
        let said = |name: &str, text: &str| {
            let mut attributes = Attributes::default();
            attributes.put_text(name, text);
            good_value(&attributes)
        };
        for text in [
            "1 good pixel, 0 beam stop, its holder or gap",
            "good = 1, bad = 0",
            "good: 1 bad: 0",
            "valid: 1, invalid: 0",
            "bad = 0; good = 1",
            "masked=0 valid=1",
            "0: masked",
            "True where good",
        ] {
            assert_eq!(said("meaning", text), Some(true), "{text}");
        }
        for text in [
            "0 = good, 1 = bad",
            "good: 0",
            "masked=1, valid=0",
            "pixel mask of detector 1; good pixels are 0",
            "1 dead, 0 ok",
            "nonzero is bad",
        ] {
            assert_eq!(said("long_name", text), Some(false), "{text}");
        }
        for text in [
            "pixels that count",
            "0 good, 1 good",
            "detector 1 of 3",
            "good or bad",
            "pixel mask, 4 dead pixels taken out",
            "2021, valid for run 5",
        ] {
            assert_eq!(said("description", text), None, "{text}");
        }
        let mut flags = Attributes::default();
        flags.put_numbers("flag_values", vec![0u8, 1, 2]);
        flags.put_text("flag_meanings", "good_pixel dead_pixel hot_pixel");
        assert_eq!(good_value(&flags), Some(false));
        assert_eq!(said("flag_masks", "1"), Some(false));
        flags = Attributes::texts(&[("flag_masks", "1"), ("flag_meanings", "good")]);
        assert_eq!(good_value(&flags), Some(true));
    }

    #[test]
    fn masks_are_cut_like_images() {
        let attributes = Attributes::default();
        let mask = PixelMask::new("mask", [2, 3], &Values::U8(vec![0, 0, 0, 0, 0, 1]), &attributes);
        let cut = |start: [usize; 4]| mask.cut(&Box4 { start, len: [4, 1, 1, 2] }).map(|cut| cut.to_vec());
        assert_eq!((cut([3, 0, 1, 1]), cut([0, 0, 0, 1])), (Some(vec![false, true]), None));
    }
}

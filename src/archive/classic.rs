//! The header of NetCDF classic files, read just far enough to know how long the file must be.
//!
//! libnetcdf reads zeros past the end of a truncated classic file and reports success; this check is why we do not.
//! Format: NetCDF User Guide, appendix "File Format Specifications" (CDF-1, CDF-2, CDF-5).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Bytes the header says the file has at least; `None` if the file is not in a classic format.
pub(crate) fn bytes_expected(path: &Path) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len();
    let mut header = Header { input: BufReader::new(file), left, version: 0 };
    let mut magic = [0; 4];
    if header.bytes(&mut magic).is_err() || &magic[..3] != b"CDF" || ![1, 2, 5].contains(&magic[3]) {
        return Ok(None);
    }
    header.version = magic[3];
    header.end_of_data().map(Some)
}

struct Header {
    input: BufReader<File>,
    left: u64,
    version: u8,
}

struct Variable {
    begin: u64,
    bytes: u64,
    record: bool,
}

impl Header {
    fn end_of_data(&mut self) -> io::Result<u64> {
        let records = self.count()?;
        let streaming = records == u64::from(u32::MAX) || records == u64::MAX;
        let dims = self.dimensions()?;
        self.skip_attributes()?;
        let variables = self.variables(&dims)?;
        let n_records = if streaming { 0 } else { records };
        let of_record: Vec<_> = variables.iter().filter(|v| v.record).collect();
        let padded = |bytes: u64| bytes.next_multiple_of(4);
        // A lone record variable is not padded (format specification, "note on padding").
        let record_bytes =
            if let [one] = of_record[..] { one.bytes } else { of_record.iter().map(|v| padded(v.bytes)).sum() };
        let end = |v: &Variable| match (v.record, n_records) {
            (true, 0) => Some(0),
            (true, n) => record_bytes.checked_mul(n - 1)?.checked_add(v.begin)?.checked_add(v.bytes),
            (false, _) => v.begin.checked_add(v.bytes),
        };
        variables.iter().map(end).try_fold(0, |all, one| Some(one?.max(all))).ok_or_else(|| damaged("sizes overflow"))
    }

    /// Lengths of the dimensions; 0 is the record dimension.
    fn dimensions(&mut self) -> io::Result<Vec<u64>> {
        let n = self.list(0x0A)?;
        (0..n).map(|_| self.name().and_then(|()| self.count())).collect()
    }

    fn skip_attributes(&mut self) -> io::Result<()> {
        for _ in 0..self.list(0x0C)? {
            self.name()?;
            let size = type_bytes(self.word()?)?;
            let n = self.count()?;
            self.skip(n.checked_mul(size).ok_or_else(|| damaged("attribute length"))?)?;
        }
        Ok(())
    }

    fn variables(&mut self, dims: &[u64]) -> io::Result<Vec<Variable>> {
        let n = self.list(0x0B)?;
        (0..n).map(|_| self.variable(dims)).collect()
    }

    fn variable(&mut self, dims: &[u64]) -> io::Result<Variable> {
        self.name()?;
        let mut record = false;
        let mut count = 1u64;
        for axis in 0..self.count()? {
            let id = usize::try_from(self.count()?).unwrap_or(usize::MAX);
            match dims.get(id) {
                Some(0) if axis == 0 => record = true,
                Some(&len) => count = count.checked_mul(len).ok_or_else(|| damaged("variable size"))?,
                None => return Err(damaged("dimension number")),
            }
        }
        self.skip_attributes()?;
        let size = type_bytes(self.word()?)?;
        self.count()?; // vsize: redundant, and wrong by specification for large variables
        let begin = if self.version == 1 { u64::from(self.word()?) } else { self.long()? };
        let bytes = count.checked_mul(size).ok_or_else(|| damaged("variable size"))?;
        Ok(Variable { begin, bytes, record })
    }

    /// Number of entries of a list that starts with this tag, or with zeros if absent.
    fn list(&mut self, tag: u32) -> io::Result<u64> {
        let found = self.word()?;
        let n = self.count()?;
        if found == tag || (found == 0 && n == 0) { Ok(n) } else { Err(damaged("list tag")) }
    }

    fn name(&mut self) -> io::Result<()> {
        let n = self.count()?;
        self.skip(n)
    }

    /// A count: 4 bytes in CDF-1 and CDF-2, 8 in CDF-5.
    fn count(&mut self) -> io::Result<u64> {
        if self.version == 5 { self.long() } else { self.word().map(u64::from) }
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn long(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn bytes(&mut self, out: &mut [u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(out.len() as u64).ok_or_else(|| damaged("end of file"))?;
        self.input.read_exact(out)
    }

    /// Skips `n` bytes and the padding to a multiple of 4.
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let n = n.checked_next_multiple_of(4).ok_or_else(|| damaged("length"))?;
        self.left = self.left.checked_sub(n).ok_or_else(|| damaged("end of file"))?;
        self.input.seek_relative(i64::try_from(n).map_err(|_| damaged("length"))?)
    }
}

fn type_bytes(code: u32) -> io::Result<u64> {
    Ok(match code {
        1 | 2 | 7 => 1,
        3 | 8 => 2,
        4 | 5 | 9 => 4,
        6 | 10 | 11 => 8,
        _ => return Err(damaged("type code")),
    })
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged header ({what})"))
}

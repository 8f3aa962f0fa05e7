//! What a program names for its start: its loader and its libraries. Total: any bytes give a list.

/// Program headers looked at in one file.
const PROGRAM_HEADERS_MAX: usize = 64;
/// Libraries of one file.
const NEEDS_MAX: usize = 64;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

struct Segment {
    kind: u32,
    offset: usize,
    address: u64,
    bytes: usize,
}

/// Loader (an absolute path) and libraries (names) of a 64-bit little-endian ELF file; none of anything else.
pub(crate) fn needs(file: &[u8]) -> Vec<Vec<u8>> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Vec::new();
    }
    let segments = segments(file);
    let interpreters = segments.iter().filter(|segment| segment.kind == PT_INTERP);
    let mut needs: Vec<Vec<u8>> = interpreters.filter_map(|segment| string(file, segment.offset)).collect();
    needs.extend(libraries(file, &segments));
    needs.truncate(NEEDS_MAX);
    needs
}

fn segments(file: &[u8]) -> Vec<Segment> {
    let (Some(start), Some(size), Some(count)) = (size_at(file, 32), u16_at(file, 54), u16_at(file, 56))
    else {
        return Vec::new();
    };
    (0..usize::from(count).min(PROGRAM_HEADERS_MAX))
        .filter_map(|index| segment(file, start.checked_add(index.checked_mul(usize::from(size))?)?))
        .collect()
}

fn segment(file: &[u8], at: usize) -> Option<Segment> {
    Some(Segment {
        kind: u32_at(file, at)?,
        offset: size_at(file, at.checked_add(8)?)?,
        address: u64_at(file, at.checked_add(16)?)?,
        bytes: size_at(file, at.checked_add(32)?)?,
    })
}

fn libraries(file: &[u8], segments: &[Segment]) -> Vec<Vec<u8>> {
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else { return Vec::new() };
    let entries = |wanted: u64| {
        let end = dynamic.offset.saturating_add(dynamic.bytes).min(file.len());
        let table = file.get(dynamic.offset..end).unwrap_or_default();
        table
            .chunks_exact(16)
            .filter_map(move |entry| (u64_at(entry, 0)? == wanted).then(|| u64_at(entry, 8)).flatten())
    };
    let Some(strings) = entries(DT_STRTAB).next().and_then(|address| offset_of(segments, address)) else {
        return Vec::new();
    };
    entries(DT_NEEDED)
        .take(NEEDS_MAX)
        .filter_map(|name| string(file, strings.checked_add(usize::try_from(name).ok()?)?))
        .collect()
}

fn offset_of(segments: &[Segment], address: u64) -> Option<usize> {
    let holds = |segment: &&Segment| {
        segment.kind == PT_LOAD
            && address.checked_sub(segment.address).is_some_and(|inside| inside < segment.bytes as u64)
    };
    let segment = segments.iter().find(holds)?;
    segment.offset.checked_add(usize::try_from(address - segment.address).ok()?)
}

fn string(file: &[u8], at: usize) -> Option<Vec<u8>> {
    let rest = file.get(at..)?;
    let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
    rest.get(..end).filter(|text| !text.is_empty()).map(<[u8]>::to_vec)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The loader and the C library of a real program are found.
    #[test]
    fn a_real_program_names_its_needs() {
        let needs = needs(&std::fs::read("/bin/ls").unwrap());
        assert!(needs.iter().any(|need| need.starts_with(b"/lib")), "{needs:?}");
        assert!(needs.iter().any(|need| need == b"libc.so.6"), "{needs:?}");
    }

    proptest! {
        /// A damaged program of a guest is no danger.
        #[test]
        fn any_bytes_are_read(at in 0usize..2048, value in any::<u64>(), cut in 0usize..4096) {
            let mut file = std::fs::read("/bin/ls").unwrap();
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let _ = needs(&file);
            file.truncate(cut);
            let _ = needs(&file);
        }
    }
}

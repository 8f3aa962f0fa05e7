//! Decompresses kernels and modules, told apart by their first bytes. Output is bounded; whatever follows the first frame
//! is ignored (kernel builds append the size to it).

use std::io::{self, Read};

use super::KernelError;
use crate::limits::LZ4_LEGACY_BLOCK_BYTES_MAX;

const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0x00];
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ELF: [u8; 4] = [0x7f, b'E', b'L', b'F'];

/// How much memory xz may take; kernels are packed with a dictionary of 32 MiB at most.
const XZ_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// zstd's largest window for `--ultra -22`, as kernels are packed: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The ELF in some data, which may be compressed.
pub(super) fn decompress(data: &[u8], bytes_max: u64) -> Result<Vec<u8>, KernelError> {
    if data.starts_with(&ELF) {
        return bounded(data, bytes_max, "plain");
    }
    if let Some(blocks) = data.strip_prefix(&LZ4_LEGACY) {
        return lz4_legacy(blocks, bytes_max);
    }
    if data.starts_with(&GZIP) {
        return bounded(flate2::read::GzDecoder::new(data), bytes_max, "gzip");
    }
    if data.starts_with(&XZ) {
        let failed =
            |source: liblzma::stream::Error| KernelError::Decompress { format: "xz", source: source.into() };
        let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0).map_err(failed)?;
        return bounded(liblzma::bufread::XzDecoder::new_stream(data, stream), bytes_max, "xz");
    }
    if data.starts_with(&ZSTD) {
        return zstd(data, bytes_max);
    }
    Err(KernelError::UnknownCompression { magic: data.iter().copied().take(6).collect() })
}

fn zstd(data: &[u8], bytes_max: u64) -> Result<Vec<u8>, KernelError> {
    let failed = |source| KernelError::Decompress { format: "zstd", source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(failed)?.single_frame();
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
    bounded(decoder, bytes_max, "zstd")
}

fn bounded(reader: impl Read, bytes_max: u64, format: &'static str) -> Result<Vec<u8>, KernelError> {
    let mut output = Vec::new();
    let read = reader.take(bytes_max.saturating_add(1)).read_to_end(&mut output);
    read.map_err(|source| KernelError::Decompress { format, source })?;
    if output.len() as u64 > bytes_max {
        return Err(KernelError::TooLarge { bytes_max });
    }
    Ok(output)
}

/// LZ4's legacy frame, lz4_Frame_format.md: blocks, each behind its compressed size; no end mark and no checksum. What the
/// kernel's build appends (the size of the output) cannot be a block: fewer bytes follow it than it names.
fn lz4_legacy(mut blocks: &[u8], bytes_max: u64) -> Result<Vec<u8>, KernelError> {
    let mut output = Vec::new();
    let mut block = vec![0; LZ4_LEGACY_BLOCK_BYTES_MAX];
    while let Some((size, rest)) = blocks.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || rest.is_empty() {
            break;
        }
        let Some((packed, rest)) = rest.split_at_checked(size) else {
            return Err(lz4_error("a block ends beyond the data"));
        };
        let length = lz4_flex::block::decompress_into(packed, &mut block).map_err(lz4_error)?;
        output.extend_from_slice(block.get(..length).unwrap_or_default());
        if output.len() as u64 > bytes_max {
            return Err(KernelError::TooLarge { bytes_max });
        }
        blocks = rest;
    }
    Ok(output)
}

fn lz4_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> KernelError {
    KernelError::Decompress { format: "lz4", source: io::Error::new(io::ErrorKind::InvalidData, error) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut data = ELF.to_vec();
        data.extend((0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()));
        data
    }

    fn packed(format: &str, data: &[u8]) -> Vec<u8> {
        let mut packed = match format {
            "plain" => return data.to_vec(),
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                return encoder.finish().unwrap();
            }
            "xz" => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            "zstd" => zstd::bulk::compress(data, 3).unwrap(),
            _ => {
                let mut packed = LZ4_LEGACY.to_vec();
                for chunk in data.chunks(300_000) {
                    let block = lz4_flex::block::compress(chunk);
                    packed.extend((block.len() as u32).to_le_bytes());
                    packed.extend(block);
                }
                packed
            }
        };
        packed.extend((data.len() as u32).to_le_bytes());
        packed
    }

    const FORMATS: [&str; 5] = ["plain", "gzip", "xz", "zstd", "lz4"];

    /// Keeps: every format kernels come in is decompressed, with the size appended as kernel builds do.
    #[test]
    fn every_format_is_decompressed() {
        let data = sample();
        for format in FORMATS {
            let output = decompress(&packed(format, &data), data.len() as u64);
            assert!(output.unwrap() == data, "{format}");
        }
    }

    /// Keeps: output beyond the limit is refused, in every format.
    #[test]
    fn output_is_bounded() {
        let data = sample();
        for format in FORMATS {
            let result = decompress(&packed(format, &data), data.len() as u64 - 1);
            assert!(matches!(result, Err(KernelError::TooLarge { .. })), "{format}");
        }
    }

    /// Keeps: compressed data cut in the middle is an error, never a shorter kernel.
    #[test]
    fn cut_data_is_refused() {
        let data = sample();
        for format in FORMATS.into_iter().skip(1) {
            let packed = packed(format, &data);
            let result = decompress(&packed[..packed.len() / 2], u64::MAX - 1);
            assert!(matches!(result, Err(KernelError::Decompress { .. })), "{format}");
        }
    }

    /// Keeps: unknown data is refused with its first bytes.
    #[test]
    fn unknown_data_is_refused() {
        let result = decompress(b"BZh91AY", 100);
        assert!(matches!(result, Err(KernelError::UnknownCompression { magic }) if magic == b"BZh91A"));
    }

    proptest::proptest! {
        /// Keeps: no data behind any magic makes a decoder panic or run away.
        #[test]
        fn hostile_data_is_harmless(format in 0..5_usize, tail: Vec<u8>) {
            let magics: [&[u8]; 5] = [&ELF, &GZIP, &XZ, &ZSTD, &LZ4_LEGACY];
            let mut data = magics[format].to_vec();
            data.extend(tail);
            let _ = decompress(&data, 1 << 20);
        }
    }
}

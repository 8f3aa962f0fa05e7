//! The x86 boot protocol's container: finds the compressed kernel in a `bzImage`. Source: Documentation/arch/x86/boot.rst
//! in the kernel tree. Decoding is total: any bytes give a payload or an error.

use super::KernelError;

const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR_BYTES: usize = 512;
/// The protocol that brought the payload fields.
const PROTOCOL_MIN: u16 = 0x0208;

/// The compressed kernel in an image.
pub(super) fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    let malformed = |what| KernelError::Image { what };
    let short = || malformed("it is too short for a header");
    if u16_at(image, BOOT_FLAG).ok_or_else(short)? != 0xaa55
        || image.get(MAGIC..MAGIC + 4) != Some(b"HdrS".as_slice())
    {
        return Err(malformed("it has no boot header"));
    }
    if u16_at(image, PROTOCOL).ok_or_else(short)? < PROTOCOL_MIN {
        return Err(malformed("its boot protocol is older than 2.08"));
    }
    // boot.rst: "if this field contains 0, the real value is 4".
    let sectors = match *image.get(SETUP_SECTS).ok_or_else(short)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * SECTOR_BYTES + u32_at(image, PAYLOAD_OFFSET).ok_or_else(short)? as usize;
    let end = start.checked_add(u32_at(image, PAYLOAD_LENGTH).ok_or_else(short)? as usize);
    end.and_then(|end| image.get(start..end)).ok_or(malformed("its payload ends beyond it"))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A minimal image around a payload.
    pub(in crate::kernel) fn image_of(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR_BYTES];
        image[SETUP_SECTS] = 1;
        image[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&0xaa55_u16.to_le_bytes());
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PROTOCOL..PROTOCOL + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend([0xee; 16]);
        image.extend(payload);
        image.extend([0xee; 100]);
        image
    }

    /// Keeps: exactly the payload is found.
    #[test]
    fn the_payload_is_found() {
        assert_eq!(payload(&image_of(b"compressed")).unwrap(), b"compressed");
    }

    /// Keeps: an image cut anywhere before the payload's end is refused.
    #[test]
    fn cut_images_are_refused() {
        let image = image_of(b"compressed");
        for length in 0..image.len() - 100 {
            assert!(payload(&image[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        /// Keeps: no bytes whatever make the parser panic.
        #[test]
        fn hostile_headers_are_harmless(offset: u32, length: u32, sectors: u8) {
            let mut image = image_of(b"compressed");
            image[SETUP_SECTS] = sectors;
            image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&offset.to_le_bytes());
            image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
            let _ = payload(&image);
        }
    }
}

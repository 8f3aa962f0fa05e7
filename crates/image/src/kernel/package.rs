//! Takes a kernel out of its `.deb`: the decompressed ELF, the modules a guest loads, and a tar of all of them. It reads
//! entries only and writes only files it names itself.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::modules::ModuleIndex;
use super::{
    KernelError, KernelManifest, MANIFEST_NAME, MANIFEST_VERSION, ModuleRecord, bzimage, compression, elf,
};
use crate::archive::KernelPackage;
use crate::child::{self, Bounds};
use crate::digest::{Digest, Hashing};
use crate::disk::{
    DiskError, create_dirs, create_file, file_bytes, open_file, seal_file, sync_dir, write_file,
};
use crate::limits::{
    BZIMAGE_BYTES_MAX, MODULE_BYTES_MAX, MODULES_BYTES_MAX, MODULES_MAX, SMALL_TOOL_RUN_MAX,
    VMLINUX_BYTES_MAX,
};
use crate::manifest::{FileRecord, write_manifest};
use crate::progress::{Cancel, Phase, Progress};
use crate::tools::{Tool, Tools};

/// Unpacks a package into an empty directory and writes its manifest.
pub(super) fn unpack(
    package: &KernelPackage,
    deb: &Path,
    directory: &Path,
    tools: &Tools,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), KernelError> {
    progress.phase(Phase::Kernel);
    verify(package, deb)?;
    let data = directory.join("data.tar");
    extract_data(deb, &data, tools, cancel)?;
    let unpacked = Unpacker::new(directory)?.unpack(&data, progress, cancel)?;
    std::fs::remove_file(&data).map_err(DiskError::io("remove", &data))?;
    let manifest = unpacked.finish(package, directory)?;
    write_manifest(&directory.join(MANIFEST_NAME), &manifest)?;
    Ok(())
}

/// apt verified the download; this verifies that the file is still that one.
fn verify(package: &KernelPackage, deb: &Path) -> Result<(), KernelError> {
    let mut reader = Hashing::new(open_file(deb)?);
    io::copy(&mut reader, &mut io::sink()).map_err(DiskError::io("read", deb))?;
    let (_, found, _) = reader.finish();
    if found != package.deb_digest {
        return Err(KernelError::Digest { found, signed: package.deb_digest });
    }
    Ok(())
}

fn extract_data(deb: &Path, data: &Path, tools: &Tools, cancel: &Cancel) -> Result<(), KernelError> {
    let mut command = Command::new(tools.require(Tool::DpkgDeb)?);
    command.arg("--fsys-tarfile").arg(deb).stdin(Stdio::null()).stdout(create_file(data)?);
    let bounds = Bounds { program: "dpkg-deb", limit: SMALL_TOOL_RUN_MAX, cancel };
    Ok(child::run(command, bounds, &mut |_| {})?)
}

/// What is gathered while the package's files pass by.
struct Unpacker {
    index: ModuleIndex,
    release: Option<String>,
    vmlinux: Option<Vec<u8>>,
    modules_tar: tar::Builder<Hashing<BufWriter<File>>>,
    module_bytes: u64,
}

/// All of a package, its tar of modules closed.
struct Unpacked {
    index: ModuleIndex,
    release: String,
    vmlinux: Vec<u8>,
    modules_tar: FileRecord,
}

impl Unpacker {
    fn new(directory: &Path) -> Result<Self, KernelError> {
        let file = BufWriter::new(create_file(&directory.join("modules.tar"))?);
        Ok(Self {
            index: ModuleIndex::default(),
            release: None,
            vmlinux: None,
            modules_tar: tar::Builder::new(Hashing::new(file)),
            module_bytes: 0,
        })
    }

    fn unpack(
        mut self,
        data: &Path,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Unpacked, KernelError> {
        let total = file_bytes(data);
        let mut archive = tar::Archive::new(BufReader::new(open_file(data)?));
        for entry in archive.entries().map_err(KernelError::Package)? {
            cancel.check()?;
            let mut entry = entry.map_err(KernelError::Package)?;
            progress.advance(entry.raw_file_position(), total);
            if entry.header().entry_type().is_file() {
                let path = entry.path().map_err(KernelError::Package)?;
                let path = path.to_string_lossy().trim_start_matches("./").to_owned();
                self.take(&path, &mut entry)?;
            }
        }
        self.close(data)
    }

    fn take(&mut self, path: &str, reader: &mut impl Read) -> Result<(), KernelError> {
        let path = path.strip_prefix("usr/").unwrap_or(path);
        if path.starts_with("boot/vmlinuz-") {
            let image = read_bounded(reader, BZIMAGE_BYTES_MAX)?;
            let vmlinux = compression::decompress(bzimage::payload(&image)?, VMLINUX_BYTES_MAX)?;
            if !elf::is_x86_64(&vmlinux) {
                return Err(KernelError::Image { what: "it does not hold an x86-64 ELF" });
            }
            self.vmlinux = Some(vmlinux);
        } else if let Some((release, file)) =
            path.strip_prefix("lib/modules/").and_then(|rest| rest.split_once('/'))
        {
            self.release.get_or_insert_with(|| release.to_owned());
            self.take_module_file(path, file, reader)?;
        }
        Ok(())
    }

    fn take_module_file(
        &mut self,
        path: &str,
        file: &str,
        reader: &mut impl Read,
    ) -> Result<(), KernelError> {
        let mut content = read_bounded(reader, MODULE_BYTES_MAX)?;
        let suffixes = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];
        let mut path = path;
        if suffixes.iter().any(|suffix| file.ends_with(suffix)) {
            let plain = path.rfind(".ko").and_then(|end| path.get(..end + 3));
            path = plain.unwrap_or(path);
            content = compression::decompress(&content, MODULE_BYTES_MAX)?;
            self.index.add(path, &content)?;
        } else if file == "modules.builtin" {
            self.index.add_built_in(&String::from_utf8_lossy(&content));
        }
        self.append(path, &content)
    }

    fn append(&mut self, path: &str, content: &[u8]) -> Result<(), KernelError> {
        self.module_bytes = self.module_bytes.saturating_add(content.len() as u64);
        if self.module_bytes > MODULES_BYTES_MAX {
            return Err(KernelError::TooLarge { bytes_max: MODULES_BYTES_MAX });
        }
        if self.index.len() > MODULES_MAX {
            return Err(KernelError::TooManyModules { limit: MODULES_MAX });
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        let appended = self.modules_tar.append_data(&mut header, path, content);
        appended.map_err(|error| DiskError::io("write", "modules.tar")(error).into())
    }

    fn close(self, data: &Path) -> Result<Unpacked, KernelError> {
        let path = data.with_file_name("modules.tar");
        let (writer, digest, bytes) =
            self.modules_tar.into_inner().map_err(DiskError::io("write", &path))?.finish();
        let file = writer.into_inner().map_err(|error| DiskError::io("write", &path)(error.into_error()))?;
        seal_file(&file, &path)?;
        Ok(Unpacked {
            index: self.index,
            release: self.release.ok_or(KernelError::Incomplete { what: "modules" })?,
            vmlinux: self.vmlinux.ok_or(KernelError::Incomplete { what: "kernel image" })?,
            modules_tar: FileRecord { bytes, digest },
        })
    }
}

impl Unpacked {
    fn finish(self, package: &KernelPackage, directory: &Path) -> Result<KernelManifest, KernelError> {
        let modules = self.write_modules(directory)?;
        Ok(KernelManifest {
            manifest_version: MANIFEST_VERSION,
            package: package.name.clone(),
            package_version: package.version.clone(),
            deb_digest: package.deb_digest,
            vmlinux: write_recorded(&directory.join("vmlinux"), &self.vmlinux)?,
            release: self.release,
            modules,
            modules_tar: self.modules_tar,
        })
    }

    /// Writes the modules a guest loads, and gives them in load order.
    fn write_modules(&self, directory: &Path) -> Result<Vec<ModuleRecord>, KernelError> {
        let order = self.index.load_order()?;
        let modules = directory.join("modules");
        create_dirs(&modules)?;
        let mut written: Vec<Option<ModuleRecord>> = vec![None; order.len()];
        let mut archive = tar::Archive::new(BufReader::new(open_file(&directory.join("modules.tar"))?));
        for entry in archive.entries().map_err(KernelError::Package)? {
            let mut entry = entry.map_err(KernelError::Package)?;
            let path = entry.path().map_err(KernelError::Package)?.to_string_lossy().into_owned();
            let wanted = order.iter().zip(&mut written).find(|((_, module), _)| module.path == path);
            if let Some(((name, _), slot)) = wanted {
                let content = read_bounded(&mut entry, MODULE_BYTES_MAX)?;
                let file = write_recorded(&modules.join(format!("{name}.ko")), &content)?;
                *slot = Some(ModuleRecord { name: name.clone(), file });
            }
        }
        sync_dir(&modules)?;
        let all: Option<Vec<_>> = written.into_iter().collect();
        all.ok_or(KernelError::Incomplete { what: "module that was there before" })
    }
}

fn write_recorded(path: &Path, content: &[u8]) -> Result<FileRecord, KernelError> {
    write_file(path, content)?;
    Ok(FileRecord { bytes: content.len() as u64, digest: Digest::of(content) })
}

fn read_bounded(reader: &mut impl Read, bytes_max: u64) -> Result<Vec<u8>, KernelError> {
    let mut content = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut content).map_err(KernelError::Package)?;
    if content.len() as u64 > bytes_max {
        return Err(KernelError::TooLarge { bytes_max });
    }
    Ok(content)
}

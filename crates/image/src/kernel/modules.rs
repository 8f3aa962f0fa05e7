//! Which modules a guest loads and in which order. The package has no `modules.dep` (it is made on installation), so each
//! module's own `.modinfo` says what it depends on. It reads no file.

use std::collections::{HashMap, HashSet};

use super::{KernelError, elf};
use crate::limits::LOADED_MODULES_MAX;

/// Without these, built in or as modules, no guest works.
const NEEDED: [&str; 5] = ["virtio_mmio", "virtio_blk", "virtio_console", "ext4", "overlay"];
/// These are loaded where the kernel has them.
const WELCOME: [&str; 4] = ["virtio_net", "vsock", "vmw_vsock_virtio_transport", "virtio_rng"];

/// The modules of a package, and what is built into its kernel.
#[derive(Default)]
pub(super) struct ModuleIndex {
    modules: HashMap<String, ModuleEntry>,
    built_in: HashSet<String>,
}

/// One module of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModuleEntry {
    /// Its path in `modules.tar`.
    pub(super) path: String,
    depends: Vec<String>,
}

impl ModuleIndex {
    /// Adds a module's file.
    pub(super) fn add(&mut self, path: &str, file: &[u8]) -> Result<(), KernelError> {
        let malformed = || KernelError::Module { path: path.to_owned() };
        let depends = elf::modinfo(file, "depends").ok_or_else(malformed)?;
        let depends = depends.split(',').filter(|name| !name.is_empty()).map(normal).collect();
        let name = name_of(path).ok_or_else(malformed)?;
        self.modules.insert(name, ModuleEntry { path: path.to_owned(), depends });
        Ok(())
    }

    /// Adds what `modules.builtin` lists, one path a line.
    pub(super) fn add_built_in(&mut self, list: &str) {
        self.built_in.extend(list.lines().filter_map(name_of));
    }

    /// How many modules there are.
    pub(super) fn len(&self) -> usize {
        self.modules.len()
    }

    /// What a guest loads, each module behind those it depends on.
    pub(super) fn load_order(&self) -> Result<Vec<(String, &ModuleEntry)>, KernelError> {
        let welcome = WELCOME.iter().filter(|name| self.modules.contains_key(**name));
        let mut order = Order { index: self, seen: HashSet::new(), loaded: Vec::new() };
        for name in NEEDED.iter().chain(welcome) {
            order.visit(name)?;
        }
        Ok(order.loaded)
    }
}

struct Order<'a> {
    index: &'a ModuleIndex,
    seen: HashSet<String>,
    loaded: Vec<(String, &'a ModuleEntry)>,
}

impl Order<'_> {
    /// Depth first. A circle, which no real kernel has, ends at the module seen already.
    fn visit(&mut self, name: &str) -> Result<(), KernelError> {
        if self.index.built_in.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        if self.seen.len() > LOADED_MODULES_MAX {
            return Err(KernelError::TooManyModules { limit: LOADED_MODULES_MAX });
        }
        let entry =
            self.index.modules.get(name).ok_or_else(|| KernelError::NoModule { name: name.to_owned() })?;
        for dependency in &entry.depends {
            self.visit(dependency)?;
        }
        self.loaded.push((name.to_owned(), entry));
        Ok(())
    }
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko` is `virtio_rng`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.trim().strip_suffix(".ko")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte);
    (!stem.is_empty() && stem.bytes().all(plain)).then(|| normal(stem))
}

fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::module_of;
    use super::*;

    fn index(modules: &[(&str, &str)], built_in: &[&str]) -> ModuleIndex {
        let mut index = ModuleIndex::default();
        for (name, depends) in modules {
            let file = module_of(&[&format!("depends={depends}")]);
            index.add(&format!("kernel/{name}.ko"), &file).unwrap();
        }
        index.add_built_in(&built_in.iter().map(|name| format!("kernel/{name}.ko\n")).collect::<String>());
        index
    }

    fn names(index: &ModuleIndex) -> Vec<String> {
        index.load_order().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    const PLAIN: [(&str, &str); 8] = [
        ("virtio", ""),
        ("virtio_ring", "virtio"),
        ("virtio_mmio", "virtio,virtio_ring"),
        ("virtio_blk", "virtio_ring,virtio"),
        ("virtio_console", "virtio_ring,virtio"),
        ("overlay", ""),
        ("virtio-rng", "virtio,rng-core"),
        ("unrelated", ""),
    ];

    /// Keeps: every module comes behind what it depends on, names are the same with - and _, built-in ones are left out.
    #[test]
    fn dependencies_come_first() {
        let order = names(&index(&PLAIN, &["ext4", "rng-core"]));
        let expected =
            ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "virtio_console", "overlay", "virtio_rng"];
        assert_eq!(order, expected);
    }

    /// Keeps: a kernel without a module that guests need is refused by that module's name.
    #[test]
    fn a_needed_module_is_missed() {
        let index = index(&PLAIN, &["rng_core"]);
        let error = index.load_order().unwrap_err();
        assert!(matches!(error, KernelError::NoModule { name } if name == "ext4"));
    }

    /// Keeps: modules that depend on each other in a circle end, in some order.
    #[test]
    fn circles_end() {
        let mut modules = PLAIN.to_vec();
        modules[0] = ("virtio", "virtio_ring");
        assert_eq!(names(&index(&modules, &["ext4", "rng_core"])).len(), 7);
    }

    /// Keeps: a file that is no module is refused by its path.
    #[test]
    fn a_malformed_module_is_refused() {
        let error = ModuleIndex::default().add("kernel/a.ko", b"text").unwrap_err();
        assert!(matches!(error, KernelError::Module { path } if path == "kernel/a.ko"));
    }
}

//! Which module imports which.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// The modules of a crate, or those in one of them, and which of them imports which, with the files that do.
pub(super) struct Graph(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Graph {
    /// The modules of a crate, or those below one of them: of these `mod` is the file that has them, which imports all of
    /// them, and from which they import what it has itself.
    pub(super) fn of(sources: &[Source], below: Option<&str>) -> Self {
        let exports: BTreeMap<String, Vec<String>> =
            sources.iter().filter(|source| source.module.is_empty()).flat_map(Source::exports).collect();
        let known = |path: &[String]| match below {
            None => path.first().cloned(),
            Some(folder) => (path.first()? == folder).then(|| path.get(1).cloned().unwrap_or("mod".into())),
        };
        let mut graph: BTreeMap<_, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for source in sources {
            if let Some(module) = known(&source.module) {
                graph.entry(module).or_default();
            }
        }
        for source in sources {
            let Some(module) = known(&source.module) else { continue };
            for path in source.imports() {
                let path = path.first().and_then(|name| exports.get(name)).unwrap_or(&path);
                let Some(target) = known(path) else { continue };
                let target = if graph.contains_key(&target) { target } else { "mod".to_owned() };
                if target != module && graph.contains_key(&target) {
                    let files = graph.get_mut(&module).unwrap().entry(target).or_default();
                    files.insert(source.file.clone());
                }
            }
        }
        Self(graph)
    }

    /// What does not stand on these floors, the lowest first; `*` is for those that are not named.
    pub(super) fn upwards(&self, floors: &[&[&str]]) -> Vec<String> {
        let named = |module: &str| floors.iter().position(|floor| floor.contains(&module));
        let floor = |module: &str| named(module).or_else(|| named("*"));
        let mut found = Vec::new();
        for (module, imports) in &self.0 {
            let Some(own) = floor(module) else {
                found.push(format!("{module} has no floor"));
                continue;
            };
            for (target, files) in imports {
                if floor(target).is_none_or(|floor| floor >= own) {
                    let files = files.iter().cloned().collect::<Vec<_>>().join(", ");
                    found.push(format!("{files}: {module} imports {target}, which is not below it"));
                }
            }
        }
        found
    }

    /// Modules that import each other, by whatever way.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let reached = |from: &str| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
            while let Some(module) = next.pop() {
                let targets = self.0[&module].keys().filter(|target| *target != "mod");
                next.extend(targets.filter(|target| reached.insert((*target).clone())).cloned());
            }
            reached
        };
        let reaches: BTreeMap<&String, BTreeSet<String>> =
            self.0.keys().map(|module| (module, reached(module))).collect();
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for (module, targets) in &reaches {
            if targets.contains(*module) {
                let circle = targets.iter().filter(|target| reaches[target].contains(*module));
                circles.insert(circle.cloned().collect());
            }
        }
        circles.into_iter().collect()
    }
}

//! Holds the layers: a module imports only modules of lower layers, and what is confined stays so.

use std::{fs, path::Path, str::FromStr};

use libtest_mimic::Failed;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::harness::{Case, Outcome, Scene};

/// The modules of the crate, from the bottom to the top.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["record", "batch", "ack", "metrics", "task"]),
    (1, &["retry", "networks", "verdict", "log_limit", "component", "field"]),
    (
        2,
        &[
            "capture",
            "condition",
            "decode",
            "ek",
            "flow",
            "score",
            "dns",
            "codec",
            "document",
            "gate",
            "host",
            "remote",
            "storage",
            "buffer",
        ],
    ),
    (3, &["sources", "transforms", "sinks"]),
    (4, &["config"]),
    (5, &["topology", "api", "tune"]),
    (6, &["cli", "main", "lib"]),
];

/// Imports within one layer: the vocabulary is one thing in four files; a component is built with the
/// networks of the config and the stores of verdicts it acts through; a buffer keeps records, encoded, on disk.
const WITHIN: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("batch", &["record", "ack"]),
    ("ack", &["record", "metrics"]),
    ("metrics", &["record", "task"]),
    ("verdict", &["networks"]),
    ("component", &["retry", "networks", "verdict"]),
    ("field", &["component"]),
    ("gate", &["host"]),
    ("buffer", &["codec", "storage"]),
    ("api", &["topology"]),
    ("main", &["cli"]),
];

/// A name that may stand only in some files.
const CONFINED: &[(&str, &str)] = &[("unsafe", "ebpf/"), ("backoff", "src/retry.rs")];

/// Macros of the `metrics` package: each metric is named once.
const METRIC_MACROS: &[&str] =
    &["counter", "gauge", "histogram", "describe_counter", "describe_gauge", "describe_histogram"];

/// The architecture's cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_module_imports_only_lower_layers),
        Case::new(a_file_that_breaks_a_rule_is_found),
        Case::new(a_file_that_keeps_the_rules_passes),
        Case::new(what_a_component_starts_logs_in_its_name),
    ]
}

fn every_module_imports_only_lower_layers(_scene: &Scene) -> Outcome {
    let root = Scene::project("");
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files)?;
    assert!(files.len() > 10, "only {} files found", files.len());
    let mut broken = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        broken.extend(check(&name, &fs::read_to_string(&file)?)?);
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(broken.join("\n").into())
}

fn a_file_that_breaks_a_rule_is_found(_scene: &Scene) -> Outcome {
    let cases = [
        ("src/ek.rs", "use crate::sources::tshark;", "ek imports sources"),
        ("src/ek.rs", "fn f() { crate::config::load() }", "ek imports config"),
        ("src/ek.rs", "fn f() { log!(\"{}\", crate::sinks::X) }", "ek imports sinks"),
        ("src/ek.rs", "use crate::{record::Raw, flow::{self, Key}};", "ek imports flow"),
        ("src/ek/walk.rs", "use super::super::flow::Key;", "ek imports flow"),
        ("src/ek/walk.rs", "mod tests { use super::super::super::flow; }", "ek imports flow"),
        ("src/record.rs", "use crate::component::Port;", "record imports component"),
        ("src/sources/tshark.rs", "use crate::sinks::driver;", "sources imports sinks"),
        ("src/transforms/flow.rs", "use crate::sources::x;", "transforms imports sources"),
        ("src/sinks/file.rs", "use crate::config::Config;", "sinks imports config"),
        ("src/score.rs", "use crate::sources::xdp;", "score imports sources"),
        ("src/verdict.rs", "use crate::component::Context;", "verdict imports component"),
        ("src/topology.rs", "use crate::cli::run;", "topology imports cli"),
        ("src/main.rs", "use tidegate::nonsense::X;", "`nonsense` is in no layer"),
        ("src/novel.rs", "", "`novel` is in no layer"),
        ("src/ek/mod.rs", "", "mod.rs"),
        ("src/ek.rs", "fn f() { unsafe { g() } }", "`unsafe` outside ebpf/"),
        ("src/sinks/http.rs", "use backoff::ExponentialBackoff;", "`backoff` outside src/retry.rs"),
        ("src/ek.rs", "fn f() { metrics::counter!(\"x\"); }", "`counter!` outside src/metrics"),
        ("src/ek.rs", "fn f() { gauge!(\"x\"); }", "`gauge!` outside src/metrics"),
    ];
    for (file, source, expected) in cases {
        let broken = check(file, source)?.join("\n");
        assert!(broken.contains(expected), "{file}: `{source}` gives `{broken}`");
    }
    Ok(())
}

fn a_file_that_keeps_the_rules_passes(_scene: &Scene) -> Outcome {
    let cases = [
        ("src/ek.rs", "// crate::sinks\nconst A: &str = \"crate::config::X unsafe backoff\";"),
        ("src/ek.rs", "use super::record::Raw; use crate::{batch::Batch, ek::fields};"),
        ("src/ek/walk.rs", "use super::fields; mod tests { use super::super::fields; }"),
        ("src/score/policy.rs", "use crate::verdict::Store;"),
        ("src/retry.rs", "use backoff::ExponentialBackoff;"),
        ("src/metrics/meter.rs", "fn f() { metrics::counter!(\"x\"); }"),
        ("src/lib.rs", "pub mod record; pub mod ek;"),
        ("src/main.rs", "fn main() { tidegate::cli::main() }"),
    ];
    for (file, source) in cases {
        let broken = check(file, source)?;
        assert!(broken.is_empty(), "{file}: `{source}` gives {broken:?}");
    }
    Ok(())
}

/// `src/task.rs` takes the component's span along. The process's own tasks have none.
fn what_a_component_starts_logs_in_its_name(_scene: &Scene) -> Outcome {
    let root = Scene::project("");
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files)?;
    let mut broken = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        let of_tests = name.ends_with("/tests.rs") || name.contains("/tests/");
        let exempt = ["src/task.rs", "src/cli/", "src/dns/scripted.rs"];
        if of_tests || exempt.iter().any(|home| name.starts_with(home)) {
            continue;
        }
        let source = fs::read_to_string(&file)?;
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if line.contains("tokio::spawn(") || line.contains("spawn_blocking(") {
                broken.push(format!("{name}:{}: use crate::task", number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// What is wrong with one file.
fn check(file: &str, source: &str) -> Result<Vec<String>, Failed> {
    let tokens = TokenStream::from_str(source).map_err(|error| format!("{file}: {error}"))?;
    let module = module_path(file);
    let top = module.first().map_or("", String::as_str).to_owned();
    let mut scan = Scan::default();
    scan.tokens(&tokens.into_iter().collect::<Vec<_>>(), &module_depth(file, &module));
    let mut broken = Vec::new();
    if file.ends_with("/mod.rs") {
        broken.push(format!("{file}: mod.rs; name it after its module, one folder up"));
    }
    let Some(layer) = layer(&top) else {
        broken.push(format!("{file}: `{top}` is in no layer; add it to LAYERS"));
        return Ok(broken);
    };
    scan.imports.sort();
    scan.imports.dedup();
    for import in scan.imports.iter().filter(|import| **import != top) {
        match self::layer(import) {
            // The crate root re-exports nothing: a capital is a macro or a mistake rustc finds.
            None if !import.starts_with(char::is_lowercase) => {}
            None => broken.push(format!("{file}: `{import}` is in no layer; add it to LAYERS")),
            Some(other) if other < layer => {}
            Some(other) if other == layer && within(&top, import) => {}
            Some(other) => broken.push(format!(
                "{file}: {top} imports {import}: layer {layer} may not import layer {other}"
            )),
        }
    }
    for (word, home) in CONFINED {
        if scan.words.iter().any(|found| found == word) && !file.starts_with(home) {
            broken.push(format!("{file}: `{word}` outside {home}"));
        }
    }
    if !file.starts_with("src/metrics") {
        for name in &scan.metric_macros {
            broken.push(format!("{file}: `{name}!` outside src/metrics"));
        }
    }
    Ok(broken)
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

fn within(module: &str, import: &str) -> bool {
    WITHIN.iter().any(|(from, to)| *from == module && to.contains(&import))
}

/// `src/sources/tshark/pipe.rs` → sources, tshark, pipe.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let stem = inside.strip_suffix(".rs").unwrap_or(inside);
    stem.split('/').map(str::to_owned).collect()
}

/// The path that `super` is counted from: the crate root for `lib.rs` and `main.rs`.
fn module_depth(file: &str, module: &[String]) -> Vec<String> {
    if matches!(file, "src/lib.rs" | "src/main.rs") { Vec::new() } else { module.to_vec() }
}

/// What the tokens of a file name.
#[derive(Debug, Default)]
struct Scan {
    /// Top-level modules reached by `crate::`, `tidegate::` or `super::`.
    imports: Vec<String>,
    /// The [`CONFINED`] names that occur.
    words: Vec<&'static str>,
    /// The [`METRIC_MACROS`] that are called.
    metric_macros: Vec<&'static str>,
}

// === impl Scan ===

impl Scan {
    fn tokens(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += 1;
            match &rest[0] {
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    let named = at >= 3 && is_ident(&tokens[at - 3], "mod");
                    if named && group.delimiter() == Delimiter::Brace {
                        let mut module = module.to_vec();
                        module.push(tokens[at - 2].to_string());
                        self.tokens(&inner, &module);
                    } else {
                        self.tokens(&inner, module);
                    }
                }
                TokenTree::Ident(ident) => {
                    self.word(&ident.to_string(), rest);
                    let after_path = at >= 2 && is_punct(&tokens[at - 2], ':');
                    if !after_path {
                        self.path(rest, module);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn word(&mut self, word: &str, rest: &[TokenTree]) {
        if let Some((found, _)) = CONFINED.iter().find(|(name, _)| *name == word)
            && (*found == "unsafe" || after_colons(rest).is_some())
        {
            self.words.push(found);
        }
        if let Some(found) = METRIC_MACROS.iter().find(|name| **name == word)
            && rest.get(1).is_some_and(|next| is_punct(next, '!'))
        {
            self.metric_macros.push(found);
        }
    }

    /// A path that begins at the crate's root, or climbs there by `super`.
    fn path(&mut self, tokens: &[TokenTree], module: &[String]) {
        let (mut rest, mut base) = match &tokens[0] {
            root if is_ident(root, "crate") || is_ident(root, "tidegate") => (tokens, Vec::new()),
            up if is_ident(up, "super") => {
                let parent = module.split_last().map_or(&[][..], |(_, parent)| parent);
                (tokens, parent.to_vec())
            }
            _ => return,
        };
        while let Some(after) = after_colons(rest) {
            rest = after;
            match rest.first() {
                Some(up) if is_ident(up, "super") => {
                    base.pop();
                }
                Some(TokenTree::Ident(name)) if base.is_empty() => {
                    self.imports.push(name.to_string());
                    return;
                }
                Some(TokenTree::Group(group)) if base.is_empty() => {
                    self.group(&group.stream().into_iter().collect::<Vec<_>>());
                    return;
                }
                _ => return,
            }
        }
    }

    /// The first names of `{a::b, c}`.
    fn group(&mut self, tokens: &[TokenTree]) {
        for item in tokens.split(|token| is_punct(token, ',')) {
            if let Some(TokenTree::Ident(name)) = item.first() {
                self.imports.push(name.to_string());
            }
        }
    }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if *ident == name)
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// What follows `name::`.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [_, one, two, rest @ ..] if is_punct(one, ':') && is_punct(two, ':') => Some(rest),
        _ => None,
    }
}

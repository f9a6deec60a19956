//! Compiles the C program to BPF. Needs clang and libbpf's headers, and says so where they are missing.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const SOURCE: &str = "bpf/tidegate.bpf.c";
const HELP: &str = "install clang and libbpf-dev (Debian: `apt-get install clang libbpf-dev`), or build \
     without the gate: `cargo build --no-default-features`";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let folder = env::var("OUT_DIR").map_err(|error| error.to_string())?;
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").map_err(|error| error.to_string())?;
    let object = PathBuf::from(folder).join("tidegate.bpf.o");
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3"]);
    // Debian keeps asm/types.h in a folder of the architecture, which the target `bpf` has none of.
    let headers = format!("/usr/include/{architecture}-linux-gnu");
    if Path::new(&headers).is_dir() {
        command.arg(format!("-I{headers}"));
    }
    command.args(["-c", SOURCE, "-o"]).arg(&object);
    let output = command.output().map_err(|error| {
        format!("`{clang}` compiles the gate's program, and can't be run ({error}); {HELP}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    let missing = said.contains("file not found");
    let hint = if missing { HELP } else { "see the lines above" };
    Err(format!("`{clang}` can't compile {SOURCE}: {hint}"))
}

use std::{io::Read as _, os::unix::fs::symlink};

use flate2::write::GzEncoder;
use proptest::prelude::*;
use zstd::zstd_safe::CParameter;

use super::*;
use crate::storage::{directory, lock::Holder};

const LINES: Opening = Opening { content: Content::Lines, mode: 0o640, durable: true };

fn record(content: Content, text: &str) -> Vec<u8> {
    match content {
        Content::Lines => format!("{text}\n").into_bytes(),
        Content::Msgpack => rmp_serde::to_vec_named(&serde_json::json!({"text": text})).unwrap(),
        Content::Gzip => {
            let mut member = GzEncoder::new(Vec::new(), flate2::Compression::default());
            member.write_all(text.as_bytes()).unwrap();
            member.finish().unwrap()
        }
        Content::Zstd => {
            let mut frame = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).unwrap();
            frame.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
            frame.compress(text.as_bytes()).unwrap()
        }
    }
}

fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn a_new_file_has_its_directories_and_exactly_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/flows.ndjson");
    let mut file = AppendFile::open(&path, Opening { mode: 0o666, ..LINES }, &[]).unwrap();
    file.append(b"one\n", true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(contents(&path), b"one\n");
}

#[test]
fn a_second_writer_of_one_file_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.ndjson");
    let first = AppendFile::open(&path, LINES, &[]).unwrap();
    let refused = AppendFile::open(&path, LINES, &[]).unwrap_err();
    assert!(matches!(refused, Error::Busy { holder: Holder::Ourselves, .. }), "{refused}");
    drop(first);
    AppendFile::open(&path, LINES, &[]).unwrap();
}

#[test]
fn a_file_behind_links_is_made_where_they_lead_to() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    symlink("elsewhere", at("flows.ndjson")).unwrap();
    symlink(at("disk/new/flows"), at("elsewhere")).unwrap();
    let mut file = AppendFile::open(&at("flows.ndjson"), LINES, &[]).unwrap();
    file.append(b"one\n", true).unwrap();
    assert!(file.is_current());
    drop(file);
    let mut file = AppendFile::open(&at("flows.ndjson"), LINES, &[]).unwrap();
    file.append(b"two\n", true).unwrap();
    assert_eq!(contents(&at("disk/new/flows")), b"one\ntwo\n");
    assert!(fs::symlink_metadata(at("flows.ndjson")).unwrap().is_symlink());
}

#[test]
fn links_in_a_circle_are_an_error_and_no_endless_search() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    symlink(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    let error = AppendFile::open(&one, LINES, &[]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[test]
fn a_new_file_whose_directory_was_not_synced_is_made_and_synced_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.ndjson");
    let io_error = |path: &Path| {
        let source = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        Err(Error::Io { action: "sync", path: path.to_owned(), source })
    };
    AppendFile::open_syncing(&path, LINES, &[], io_error).unwrap_err();
    let mut synced = false;
    let sync = |_: &Path| {
        synced = true;
        Ok(())
    };
    AppendFile::open_syncing(&path, LINES, &[], sync).unwrap();
    assert!(synced);
    let not_again = |_: &Path| panic!("it was there before");
    AppendFile::open_syncing(&path, LINES, &[], not_again).unwrap();
}

/// A child that is being started has a copy of every descriptor for a moment, and a copy shares the
/// lock: a rotation in that moment must not find its own file taken.
#[test]
fn a_file_that_was_closed_can_be_opened_though_a_copy_of_its_descriptor_lives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.ndjson");
    let first = AppendFile::open(&path, LINES, &[]).unwrap();
    let copy = first.file.try_clone().unwrap();
    first.close();
    AppendFile::open(&path, LINES, &[]).unwrap();
    drop(copy);
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [fifo.as_path(), Path::new("/dev/null")] {
        assert!(matches!(AppendFile::open(path, LINES, &[]), Err(Error::NotRegular { .. })));
        assert!(directory::unwritable(path).is_some());
    }
}

#[test]
fn a_file_of_other_content_is_left_alone() {
    let kinds = [Content::Lines, Content::Msgpack, Content::Gzip, Content::Zstd];
    for written in kinds {
        for expected in kinds.into_iter().filter(|content| *content != written) {
            // Nothing tells text from the msgpack of an empty map's worth of lines but its newlines.
            if (written, expected) == (Content::Msgpack, Content::Lines) {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let bytes = record(written, "text");
            fs::write(&path, &bytes).unwrap();
            let opened = AppendFile::open(&path, Opening { content: expected, ..LINES }, &[]);
            assert!(matches!(opened, Err(Error::Foreign { .. })), "{written} as {expected}");
            assert_eq!(contents(&path), bytes);
        }
    }
}

#[test]
fn what_was_whole_when_it_was_closed_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.gz");
    let opening = Opening { content: Content::Gzip, ..LINES };
    let mut file = AppendFile::open(&path, opening, &[]).unwrap();
    file.append(&record(Content::Gzip, "one"), false).unwrap();
    let closed = file.close();

    // Damage before that point goes unseen, a torn end behind it does not.
    let mut bytes = contents(&path);
    let whole = bytes.len() as u64;
    bytes[12] ^= 0xff;
    bytes.extend_from_slice(&record(Content::Gzip, "two")[..7]);
    fs::write(&path, &bytes).unwrap();
    let file = AppendFile::open(&path, opening, &[closed]).unwrap();
    assert_eq!(file.whole_bytes(), whole);
}

#[test]
fn a_file_emptied_by_somebody_else_is_appended_to_from_its_new_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.ndjson");
    let mut file = AppendFile::open(&path, LINES, &[]).unwrap();
    file.append(b"one\n", false).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    file.append(b"two\n", false).unwrap();
    assert_eq!(contents(&path), b"two\n");
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_is_appended_to_behind_its_last_whole_record(
        content in prop::sample::select(vec![
            Content::Lines, Content::Msgpack, Content::Gzip, Content::Zstd,
        ]),
        texts in prop::collection::vec("[a-z]{0,40}", 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let opening = Opening { content, ..LINES };
        let records: Vec<_> = texts.iter().map(|text| record(content, text)).collect();
        let all = records.concat();
        let cut = cut.index(all.len() + 1);
        fs::write(&path, &all[..cut]).unwrap();

        let mut file = AppendFile::open(&path, opening, &[]).unwrap();
        file.append(&record(content, "next"), false).unwrap();

        let mut whole = Vec::new();
        for record in &records {
            if whole.len() + record.len() > cut {
                break;
            }
            whole.extend_from_slice(record);
        }
        let mut torn = Vec::new();
        if let Ok(mut aside) = File::open(directory.path().join("file.torn")) {
            aside.read_to_end(&mut torn).unwrap();
        }
        prop_assert_eq!(&torn, &all[whole.len()..cut]);
        whole.extend_from_slice(&record(content, "next"));
        prop_assert_eq!(contents(&path), whole);
    }

    #[test]
    fn any_bytes_in_a_file_end_in_a_file_that_can_be_appended_to_or_a_refusal(
        content in prop::sample::select(vec![
            Content::Lines, Content::Msgpack, Content::Gzip, Content::Zstd,
        ]),
        magic in prop::sample::select(vec![
            &b""[..], &[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], &[0xdf], &[0x81],
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, [magic, &noise].concat()).unwrap();
        match AppendFile::open(&path, Opening { content, ..LINES }, &[]) {
            Ok(mut file) => file.append(&record(content, "next"), false).unwrap(),
            Err(error) => prop_assert!(matches!(error, Error::Foreign { .. }), "{error}"),
        }
    }
}

/// Set in the process that is to be killed: content and path.
const VICTIM: &str = "TIDEGATE_TEST_VICTIM";
const VICTIM_TEST: &str =
    "storage::append::tests::a_writer_killed_at_any_moment_leaves_whole_records_behind";

/// A record that takes the disk long enough to be killed in; its text begins with its number.
fn long_record(content: Content, number: usize) -> Vec<u8> {
    record(content, &format!("{number} {}", "x".repeat(2 << 20)))
}

fn write_until_killed(content: Content, path: &Path) -> ! {
    let mut file = AppendFile::open(path, Opening { content, ..LINES }, &[]).unwrap();
    for number in 0.. {
        file.append(&long_record(content, number), false).unwrap();
        assert!(number < 100, "nobody killed this process");
    }
    unreachable!()
}

#[test]
fn a_writer_killed_at_any_moment_leaves_whole_records_behind() {
    if let Ok(victim) = std::env::var(VICTIM) {
        let (content, path) = victim.split_once(' ').unwrap();
        let content = if content == "lines" { Content::Lines } else { Content::Gzip };
        write_until_killed(content, Path::new(path));
    }
    for (content, name) in [(Content::Lines, "lines"), (Content::Gzip, "gzip")] {
        for round in 0..6_u64 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", VICTIM_TEST])
                .env(VICTIM, format!("{name} {}", path.display()))
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            // Between the first record and the last, another moment each round.
            while fs::metadata(&path).map_or(0, |meta| meta.len()) == 0 {
                assert!(victim.try_wait().unwrap().is_none(), "the victim ended by itself");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::thread::sleep(std::time::Duration::from_micros(700 * round));
            victim.kill().unwrap();
            victim.wait().unwrap();

            let mut file = AppendFile::open(&path, Opening { content, ..LINES }, &[]).unwrap();
            file.append(&record(content, "next"), false).unwrap();
            let mut expected = Vec::new();
            let found = contents(&path);
            for number in 0.. {
                let next = record(content, "next");
                if found.len() <= expected.len() + next.len() {
                    expected.extend_from_slice(&next);
                    break;
                }
                expected.extend_from_slice(&long_record(content, number));
            }
            assert!(found == expected, "{name}, round {round}");
        }
    }
}

use std::io::Read as _;

use proptest::prelude::*;

use super::*;

const LINES: Opening = Opening { content: Content::Lines, mode: 0o640, durable: true };

fn record(content: Content, text: &str) -> Vec<u8> {
    match content {
        Content::Lines => format!("{text}\n").into_bytes(),
        Content::Msgpack => rmp_serde::to_vec_named(&serde_json::json!({"text": text})).unwrap(),
        Content::Gzip => {
            crate::sinks::Compression::Gzip.compress(text.as_bytes()).unwrap().into_owned()
        }
        Content::Zstd => {
            crate::sinks::Compression::Zstd.compress(text.as_bytes()).unwrap().into_owned()
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
    assert!(matches!(AppendFile::open(&path, LINES, &[]), Err(Error::Busy { .. })));
    drop(first);
    AppendFile::open(&path, LINES, &[]).unwrap();
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
        assert!(unwritable(path).is_some());
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

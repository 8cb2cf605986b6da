//! Reports written and read back: golden ones, full ones, torn ones and spoilt ones.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::outcome::{LONGEST_CONTENT_TYPE, LONGEST_KEY};
use crate::reason::Reason;

mod properties;

const TEAM: &str = "0e2d5a3c-7a4f-4b7e-9a3e-0c1f6f3c9d21";
const START: i64 = 1_795_000_000;
/// Longer than the 1024 bytes that a key of S3 may have.
const LONGEST_IN_REPORT: usize = 1600;

fn assignment(file_name: &str, content_type: Option<&str>) -> Assignment {
    Assignment {
        name: "file".into(),
        revision: "r1".into(),
        path: format!("raw/{file_name}"),
        file_name: file_name.into(),
        content_type: content_type.map(Into::into),
        folder: None,
    }
}

fn token(number: usize) -> String {
    format!("{:016x}{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), !(number as u64) << 32)
}

fn uploaded(file: usize, file_key: &str, content_type: &str, at: i64) -> Entry {
    let sha256 = format!("{:064x}", u128::MAX - file as u128);
    let (file_key, content_type) = (file_key.to_owned(), content_type.to_owned());
    let at = Timestamp::from_second(at).unwrap();
    Entry::Uploaded { file, upload: Upload { file_key, content_type, size: 12_345_678, sha256, at } }
}

fn failed(file: Option<usize>, reason: Reason, message: &str, retry_after: Option<u64>) -> Entry {
    let retry_after = retry_after.map(Duration::from_secs);
    Entry::Failed { file, trouble: Trouble { retry_after, ..Trouble::new(reason, message.to_owned()) } }
}

fn ordinary(file: usize) -> (Assignment, Entry) {
    let name = format!("image_{file:04}.png");
    let key = format!("inputs/{TEAM}/{}/aW1hZ2UvcG5n/{name}", token(file));
    (assignment(&name, None), uploaded(file, &key, "image/png", START + 100 * i64::try_from(file).unwrap()))
}

fn reserve(writer: &mut Writer<&mut Vec<u8>>, entry: &Entry) -> Result<(), NoRoom> {
    match entry {
        Entry::Uploaded { file, upload: Upload { file_key, content_type, size, .. } } => {
            writer.reserve(*file, file_key, content_type, *size)
        }
        Entry::Failed { .. } => Ok(()),
    }
}

/// The report of these entries, one after the other.
fn written(files: &[Assignment], entries: &[Entry]) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files.to_vec(), 0..files.len());
    for entry in entries {
        reserve(&mut writer, entry).unwrap();
        writer.append(entry).unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_report_is_written_as_it_always_was() {
    let files = [
        assignment("input image.png", None),
        assignment("prompt.txt", Some("text/plain; charset=utf-8")),
        assignment("b.png", None),
        assignment("c.bin", None),
        assignment("d.bin", None),
        assignment("e.txt", Some("text/plain; charset=utf-8")),
    ];
    let hex = "0123456789abcdef".repeat(2);
    let entries = [
        uploaded(0, &format!("inputs/{TEAM}/{}/aW1hZ2UvcG5n/input image.png", "t".repeat(32)), "image/png", START),
        uploaded(1, &format!("inputs/{TEAM}/{}/prompt.txt", "u".repeat(32)), "text/plain; charset=utf-8", START + 61),
        uploaded(5, &format!("inputs/{TEAM}/{hex}/e.txt"), "text/plain; charset=utf-8", START + 70),
        failed(Some(2), Reason::FileNotFound, "raw/b.png: no such file", None),
        uploaded(3, "somewhere\\else\n%20\"", "a b", START + 60),
        failed(None, Reason::RateLimited, "slow down", Some(120)),
        failed(Some(4), Reason::RateLimited, "slow down", None),
    ];
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files.to_vec(), 0..files.len());
    for entry in &entries {
        reserve(&mut writer, entry).unwrap();
        writer.append(entry).unwrap();
    }
    for _ in 0..2 {
        writer.as_mut().limited().unwrap();
        writer.as_mut().full().unwrap();
    }
    let text = String::from_utf8(out).unwrap();
    let golden = include_str!("../../tests/report/every-line.txt");
    assert_eq!(text, golden);
    let report = Report { entries: entries.to_vec(), full: true, limited: true, ..Report::default() };
    assert_eq!(read(golden, &files), Ok(report.clone()));
    let before = include_str!("../../tests/report/every-line-of-version-1.txt");
    assert_eq!(read(before, &files), Ok(report), "a report of the version before may be on its way");
}

#[test]
fn a_usual_share_fits_what_a_pod_of_four_containers_gets_even_with_four_on_their_way() {
    let (files, entries): (Vec<_>, Vec<_>) = (0..34).map(ordinary).unzip();
    for concurrent in [1, 4] {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, files.clone(), 0..files.len());
        for together in entries.chunks(concurrent) {
            for entry in together {
                assert_eq!(reserve(&mut writer, entry), Ok(()), "{entry:?}");
            }
            together.iter().rev().for_each(|entry| writer.append(entry).unwrap());
        }
        assert!(out.len() < 12 * 1024 / 4, "{}", out.len());
        let report = read(std::str::from_utf8(&out).unwrap(), &files).unwrap();
        assert_eq!((report.entries.len(), report.full, report.garbled), (34, false, false));
    }
    const { assert!(PER_REPORT < 30) };
}

#[test]
fn whatever_was_promised_is_kept_when_the_report_fills_up() {
    // The longest keys, several at a time, failures with long messages in between.
    let files: Vec<Assignment> = (0..100).map(|file| assignment(&format!("{file}.bin"), None)).collect();
    for length in [10, 100, 500, 1000, 1500] {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, files.clone(), 0..files.len());
        let mut expected = Vec::new();
        for three in (0..99).collect::<Vec<usize>>().chunks(3) {
            let entries: Vec<Entry> = three
                .iter()
                .map(|&file| uploaded(file, &token(file).repeat(length / 32 + 1), &format!("type/{file}"), START))
                .filter(|entry| reserve(&mut writer, entry).is_ok())
                .collect();
            let nobodys = failed(Some(three[2]), Reason::SourceChanged, &token(three[0]).repeat(20), Some(9));
            if entries.len() < 3 {
                writer.append(&nobodys).unwrap();
            }
            for entry in entries {
                writer.append(&entry).unwrap();
                expected.push(entry);
            }
        }
        writer.append(&failed(None, Reason::ConfigMapKeyNotFound, "x", Some(u64::MAX))).unwrap();
        writer.as_mut().full().unwrap();
        writer.as_mut().limited().unwrap();
        assert!(out.len() <= LIMIT, "{length}: {}", out.len());
        let report = read(std::str::from_utf8(&out).unwrap(), &files).unwrap();
        assert!(report.full && report.limited && !report.garbled && !expected.is_empty(), "{length}");
        assert!(report.entries.iter().any(|entry| matches!(entry, Entry::Failed { file: None, .. })), "{length}");
        let stored: Vec<_> =
            report.entries.into_iter().filter(|entry| matches!(entry, Entry::Uploaded { .. })).collect();
        assert_eq!(stored, expected);
    }
}

#[test]
fn every_open_file_can_fail_in_a_report_that_is_full() {
    let (files, entries): (Vec<_>, Vec<_>) = (0..PER_REPORT).map(ordinary).unzip();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files.clone(), 0..files.len());
    // Two uploads take all that is not promised to others.
    let longest = uploaded(0, &"k".repeat(LONGEST_IN_REPORT), "image/png", START);
    assert_eq!(reserve(&mut writer, &longest), Ok(()));
    let mut longer_and_longer = (0..LONGEST_IN_REPORT).rev().map(|length| "l".repeat(length));
    let rest = longer_and_longer.find(|key| writer.reserve(1, key, "image/png", 1).is_ok()).unwrap();
    assert_eq!(reserve(&mut writer, &entries[2]), Err(NoRoom::Left));
    writer.append(&longest).unwrap();
    writer.append(&uploaded(1, &rest, "image/png", START)).unwrap();
    for file in 2..PER_REPORT {
        writer.append(&failed(Some(file), Reason::ConfigMapKeyNotFound, "why", Some(u64::MAX))).unwrap();
    }
    writer.append(&failed(None, Reason::ConfigMapKeyNotFound, "why", Some(u64::MAX))).unwrap();
    writer.as_mut().limited().unwrap();
    writer.as_mut().full().unwrap();
    assert!(out.len() <= LIMIT);
    let report = read(std::str::from_utf8(&out).unwrap(), &files).unwrap();
    assert_eq!((report.entries.len(), report.full, report.limited), (PER_REPORT + 1, true, true));
}

#[test]
fn a_key_that_no_report_could_hold_is_told_from_one_that_came_too_late() {
    let (files, _): (Vec<_>, Vec<_>) = (0..PER_REPORT).map(ordinary).unzip();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files, 0..PER_REPORT);
    assert_eq!(writer.reserve(0, &"k".repeat(LONGEST_KEY + 1), "a/b", 1), Err(NoRoom::Ever));
    assert_eq!(writer.reserve(0, "k", &"t".repeat(LONGEST_CONTENT_TYPE + 1), 1), Err(NoRoom::Ever));
    assert_eq!(writer.reserve(0, &"k".repeat(LONGEST_KEY), "a/b", 1), Err(NoRoom::Ever), "2048 bytes");
    assert_eq!(writer.reserve(0, &"k".repeat(LONGEST_IN_REPORT), "a/b", 1), Ok(()));
    assert_eq!(writer.reserve(1, &"k".repeat(LONGEST_IN_REPORT), "a/b", 1), Err(NoRoom::Left));
    assert_eq!(writer.reserve(0, "short", "a/b", 1), Ok(()), "a second ticket takes the room of the first");
    assert_eq!(writer.reserve(1, &"k".repeat(LONGEST_IN_REPORT), "a/b", 1), Ok(()));
    writer.as_mut().full().unwrap();
    assert_eq!(writer.reserve(2, "short", "a/b", 1), Err(NoRoom::Left), "full is full");
}

#[test]
fn a_report_begins_with_its_first_line_so_that_a_crash_before_that_leaves_the_end_of_the_log() {
    let (files, entries): (Vec<_>, Vec<_>) = (0..1).map(ordinary).unzip();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files.clone(), 0..1);
    reserve(&mut writer, &entries[0]).unwrap();
    drop(writer);
    assert_eq!(out, b"");
    for entry in [None, Some(&entries[0])] {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, files.clone(), 0..1);
        if let Some(entry) = entry {
            writer.append(entry).unwrap();
        }
        for _ in 0..2 {
            writer.as_mut().finish().unwrap();
        }
        let report = read(std::str::from_utf8(&out).unwrap(), &files).unwrap();
        assert_eq!((report.entries.len(), report.garbled), (entry.iter().count(), false));
    }
}

#[test]
fn an_upload_without_a_promise_is_not_squeezed_in() {
    let files = [assignment("a", None)];
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, files.to_vec(), 0..1);
    assert!(writer.append(&uploaded(0, &"k".repeat(LIMIT), "a/b", START)).is_err());
    writer.as_mut().finish().unwrap();
    assert_eq!(read(std::str::from_utf8(&out).unwrap(), &files), Ok(Report::default()));
}

#[test]
fn nothing_follows_a_line_that_could_not_be_written_whole() {
    /// Full in the middle of the second line only.
    struct Disk(Vec<u8>, usize);
    impl std::io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1 += 1;
            let taken = match self.1 {
                2 => bytes.len() / 2,
                3 => return Err(std::io::ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (files, entries): (Vec<_>, Vec<_>) = (0..3).map(ordinary).unzip();
    let mut disk = Disk(Vec::new(), 0);
    let mut writer = Writer::new(&mut disk, files.clone(), 0..3);
    writer.append(&entries[0]).unwrap();
    assert!(writer.append(&entries[1]).is_err());
    assert!(writer.append(&entries[2]).is_err() && writer.as_mut().full().is_err());
    assert_eq!(writer.reserve(2, "k", "a/b", 1), Err(NoRoom::Left));
    assert_eq!(read(std::str::from_utf8(&disk.0).unwrap(), &files).unwrap().entries, entries[..1]);
}

#[test]
fn a_message_is_shortened_and_said_once() {
    let (files, _): (Vec<_>, Vec<_>) = (0..4).map(ordinary).unzip();
    let long = "é".repeat(1000);
    let entries: Vec<Entry> = (0..3).map(|file| failed(Some(file), Reason::TooLarge, &long, None)).collect();
    let text = written(&files, &entries);
    assert!(text.len() < 550, "{}", text.len());
    let report = read(&text, &files).unwrap();
    for entry in &report.entries {
        let Entry::Failed { trouble, .. } = entry else { panic!("{entry:?}") };
        let message = trouble.message();
        assert!((390..=400).contains(&message.len()) && message.starts_with("éé") && message.ends_with("é…"));
    }
    assert_eq!(report.entries.len(), 3);
}

#[test]
fn what_is_no_report_of_this_version_is_told_apart() {
    let files = [assignment("a", None)];
    for (text, expected) in [
        ("", Unreadable::Missing),
        ("fileupload-rep", Unreadable::Missing),
        ("fileupload-report/1", Unreadable::Missing),
        ("fileupload-report/2", Unreadable::Missing),
        ("fileupload-report/3\n+0", Unreadable::Unsupported),
        ("fileupload-report/10\n", Unreadable::Unsupported),
        ("exec: \"fileupload\": executable file not found", Unreadable::Garbled),
        ("\nfileupload-report/1\n", Unreadable::Garbled),
    ] {
        assert_eq!(read(text, &files), Err(expected), "{text:?}");
    }
    for text in ["fileupload-report/1\n", "fileupload-report/2\n"] {
        assert_eq!(read(text, &files), Ok(Report::default()));
    }
}

#[test]
fn a_line_that_cannot_be_read_ends_the_report_and_keeps_what_stood_before() {
    let (files, entries): (Vec<_>, Vec<_>) = (0..2).map(ordinary).unzip();
    let text = written(&files, &entries[..1]);
    let good = text.lines().nth(1).unwrap();
    for bad in [
        "",
        "nonsense",
        "é",
        "fuller",
        "+",
        &good.replacen("80 ", "82 ", 1),
        &good.replacen("80 ", "8-1 ", 1),
        &good.replacen("0~0", "zz~0", 1),
        &good.replacen("0~0", "0~zz", 1),
        &good.replacen("0~0", "0", 1),
        &good.replacen("0~0", "0~-1", 1),
        &good.replacen("inputs", "\\y00", 1),
        &good.replacen("inputs", "\\x0", 1),
        &good.replacen("inputs", "=!", 1),
        &good.replacen(&line::base36(START), "zzzzzzzzzzzzzz", 1),
        &good.replacen(&line::base36(START), &"z".repeat(60), 1),
        "+é",
        "=",
        "-2 FileNotFound -",
        "-* NoSuchReason -",
        "-* FileNotFound soon",
        "-* FileNotFound - message",
        "-* FileNotFound",
    ] {
        let report = read(&format!("{text}{bad}\nfull\n"), &files).unwrap();
        assert_eq!(report.entries, entries[..1], "{bad}");
        assert!(report.garbled && !report.full, "{bad}");
    }
}

/// The line of an upload of file 0.
fn line(head: usize, tail: usize, kind: &str, middle: &str) -> String {
    format!("+{}0 0 1 {}.{} {kind} {middle}\n", "A".repeat(43), line::base36(head), line::base36(tail))
}

#[test]
fn a_text_whose_keys_double_with_each_line_is_garbled_at_once_and_makes_nothing_big() {
    let files = [assignment("a", None)];
    let mut text = format!("{VERSION}\n{}", line(0, 0, "a/b", &"k".repeat(300)));
    for doublings in 0..21 {
        let length = 300 << doublings;
        text += &line(length, length, "", "");
    }
    assert!(text.len() < LIMIT && text.lines().count() == 23);
    let report = read(&text, &files).unwrap();
    assert_eq!((report.entries.len(), report.garbled), (1, true));
}

#[test]
fn a_key_or_a_content_type_that_no_status_could_hold_is_garbled() {
    let files = [assignment("a", None)];
    let (long, longest) = ("é".repeat(LONGEST_KEY + 1), "é".repeat(LONGEST_KEY));
    let (kind, longest_kind) = ("é".repeat(LONGEST_CONTENT_TYPE + 1), "é".repeat(LONGEST_CONTENT_TYPE));
    for (kind, key, garbled) in [
        ("a/b", longest.as_str(), false),
        ("a/b", long.as_str(), true),
        (longest_kind.as_str(), "k", false),
        (kind.as_str(), "k", true),
    ] {
        let report = read(&format!("{VERSION}\n{}", line(0, 0, kind, key)), &files).unwrap();
        assert_eq!((report.garbled, report.entries.is_empty()), (garbled, garbled), "{}", key.len() + kind.len());
    }
    let grown = line(0, 0, "a/b", &"k".repeat(2000)) + &line(2000, 0, "", &"k".repeat(49));
    let report = read(&format!("{VERSION}\n{grown}"), &files).unwrap();
    assert_eq!((report.entries.len(), report.garbled), (1, true), "also if it grew from line to line");
}

#[test]
fn what_no_report_can_hold_is_not_read_and_what_stands_before_it_is_kept() {
    let files = [assignment("a", None)];
    let short = "-0 Queued -\n";
    let most = previous::LIMIT / short.len();
    let report = read(&format!("{VERSION}\n{}", short.repeat(most)), &files).unwrap();
    assert_eq!((report.entries.len(), report.garbled), (most, false));
    let report = read(&format!("{VERSION}\n{}", short.repeat(most + 1)), &files).unwrap();
    assert_eq!((report.entries.len(), report.garbled), (most, true));
    let long = format!("-0 Queued - :{}\n", "é".repeat(previous::LIMIT));
    let report = read(&format!("{VERSION}\n{short}{}", long.repeat(3)), &files).unwrap();
    assert_eq!((report.entries.len(), report.garbled), (2, true), "the second long one ends beyond what is looked at");
    let every = Reason::ALL.iter().map(|reason| reason.as_str().len()).min().unwrap();
    assert!(every >= "Queued".len(), "a shorter reason makes shorter lines");
}

#[test]
fn shares_are_contiguous_balanced_and_leave_nobody_out() {
    for (files, shards) in [(0, 1), (1, 1), (100, 4), (29, 2), (57, 3), (3, 5), (28, 0)] {
        let shares: Vec<_> = (0..shards.max(1)).map(|index| share(files, shards, index)).collect();
        assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..files).collect::<Vec<_>>());
        let sizes = || shares.iter().map(ExactSizeIterator::len);
        assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{shares:?}");
        assert!(share(files, shards, shards.max(1)).is_empty() && share(files, shards, usize::MAX).is_empty());
    }
}

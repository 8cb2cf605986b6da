use proptest::prelude::*;

use super::*;
use crate::reason::Reason;
use crate::report::{LIMIT, NoRoom};

fn stored(path: &str, key: &str, modified: i128, second: i64, size: u64) -> Entry {
    let upload = Upload {
        file_key: key.to_owned(),
        content_type: String::new(),
        size,
        sha256: format!("{:064x}", Sha256::digest(path).iter().fold(0_u64, |all, byte| all << 5 ^ u64::from(*byte))),
        at: Timestamp::from_second(second).unwrap(),
    };
    Entry::Stored {
        path: path.to_owned(),
        modified_at: Timestamp::from_microsecond(i64::try_from(modified).unwrap()).unwrap(),
        upload,
    }
}

fn written(entries: &[Entry]) -> (String, usize) {
    let mut text = Vec::new();
    let mut writer = Writer::new(&mut text);
    writer.found(entries.len()).unwrap();
    let mut count = 0;
    for (file, entry) in entries.iter().enumerate() {
        let fitted = match entry {
            Entry::Stored { path, modified_at, upload } => {
                match writer.reserve(file, path, &upload.file_key, upload.size) {
                    Ok(()) => {
                        writer.stored(file, path, *modified_at, upload).unwrap();
                        true
                    }
                    Err(NoRoom::Left | NoRoom::Ever) => false,
                }
            }
            Entry::Failed { path, trouble } => writer.failed(path.as_deref(), trouble).unwrap(),
            Entry::Gone { path } => writer.gone(path).unwrap(),
        };
        if !fitted {
            break;
        }
        count += 1;
    }
    (String::from_utf8(text).unwrap(), count)
}

fn uuid(number: usize) -> String {
    let hex =
        format!("{:032x}", Sha256::digest(number.to_string()).iter().fold(0_u128, |all, b| all << 7 ^ u128::from(*b)));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn frames(number: usize) -> Vec<Entry> {
    let frame = |at: usize| {
        let path = format!("frame_{:04}.png", at * 7919 % 10_000);
        let key = format!("inputs/{}/{}/aW1hZ2UvcG5n/{path}", uuid(0), uuid(at + 1));
        let modified = 1_764_000_000_000_000 + i128::try_from(at).unwrap() * 2_345_678;
        stored(&path, &key, modified, 1_764_100_000 + i64::try_from(at).unwrap() / 20, 4096 + at as u64 * 481)
    };
    (0..number).map(frame).collect()
}

#[test]
fn ordinary_frames_of_a_whole_report_are_read_back_without_a_list() {
    let entries = frames(60);
    let (text, count) = written(&entries);
    assert!(text.len() <= LIMIT, "{}", text.len());
    assert!(count >= 32, "only {count} in a report: {text}");
    let report = read(&text).unwrap();
    assert_eq!((report.entries.as_slice(), report.garbled, report.found), (&entries[..count], false, Some(60)));
}

#[test]
fn every_line_is_read_as_it_was_written() {
    let mut text = Vec::new();
    let mut writer = Writer::new(&mut text);
    writer.keep_cuts(3);
    writer.found(5).unwrap();
    assert!(writer.gone("a folder/old one.png").unwrap());
    let trouble = Trouble::new(Reason::PermissionDenied, "a : file\nof root");
    assert!(writer.failed(Some("a folder/secret.png"), &trouble).unwrap());
    assert!(writer.failed(Some("b"), &trouble).unwrap());
    assert!(writer.failed(None, &Trouble::new(Reason::TooManyFiles, "401 files")).unwrap());
    writer.cut(&[1, 500, 65535]).unwrap();
    writer.done("abc").unwrap();
    writer.as_mut().full().unwrap();
    writer.as_mut().full().unwrap();
    writer.as_mut().limited().unwrap();
    let report = read(std::str::from_utf8(&text).unwrap()).unwrap();
    let failed = |path: Option<&str>, trouble: &Trouble| Entry::Failed {
        path: path.map(str::to_owned),
        trouble: trouble.clone(),
    };
    assert_eq!(
        report.entries,
        [
            Entry::Gone { path: "a folder/old one.png".into() },
            failed(Some("a folder/secret.png"), &trouble),
            failed(Some("b"), &trouble),
            failed(None, &Trouble::new(Reason::TooManyFiles, "401 files")),
        ]
    );
    assert_eq!((report.cuts, report.done.as_deref(), report.found), (vec![1, 500, 65535], Some("abc"), Some(5)));
    assert_eq!((report.full, report.limited, report.garbled), (true, true, false));
}

#[test]
fn what_is_no_report_on_a_folder_is_told_apart() {
    use crate::report::Unreadable::{Garbled, Missing, Unsupported};
    for (text, expected) in [
        ("", Missing),
        ("fileupload-fol", Missing),
        ("fileupload-folder/9\nfound 1\n", Unsupported),
        ("fileupload-report/2\n", Garbled),
        ("panicked at", Garbled),
    ] {
        assert_eq!(read(text), Err(expected), "{text}");
    }
}

#[test]
fn shares_are_equal_and_have_each_path_once() {
    let mut left: Vec<u16> = (0..371).map(|file| place(&format!("frame_{file}")).1).collect();
    left.sort_unstable();
    let folder = Folder { cuts: cuts(&left, 12), ..Folder::default() };
    assert_eq!(folder.cuts.len(), 11);
    let sizes: Vec<_> = (0..12).map(|share| left.iter().filter(|place| folder.has(share, **place)).count()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 371);
    assert!(sizes.iter().all(|size| (30..=32).contains(size)), "{sizes:?}");
    assert!(left.iter().all(|place| Folder::default().has(0, *place)), "one that is not cut has all");
}

#[test]
fn absorbing_twice_is_absorbing_once_and_a_file_that_never_rests_is_no_progress() {
    let report = |entries: Vec<Entry>| Report { entries, found: Some(2), ..Report::default() };
    let mut part = Part::new("r", 1);
    let first = [report(vec![stored("a", "k1", 1, 1, 5), stored("b", "k2", 1, 2, 7)])];
    part.absorb(1, &first, "", true);
    assert!(part.meta.progress && part.bytes() == 12 && part.files.len() == 2);
    let once = part.clone();
    part.absorb(1, &first, "", true);
    assert_eq!(part.files, once.files);
    for change in 1..=3_i64 {
        part.absorb(1 + change, &[report(vec![stored("b", &format!("k2-{change}"), change.into(), 2, 7)])], "", true);
        assert_eq!(part.meta.progress, change < 3, "change {change}");
    }
    assert_eq!(part.meta.restless.as_deref(), Some("b"));
    let done = |digest: &str| [Report { done: Some(digest.to_owned()), ..Report::default() }];
    part.absorb(9, &done("other"), "mine", true);
    assert!(!part.meta.complete, "of other keys");
    part.absorb(10, &done("mine"), "mine", false);
    assert!(!part.meta.complete, "the keys are others by now");
    part.absorb(11, &done("mine"), "mine", true);
    assert!(part.meta.complete);
    part.absorb(12, &[report(vec![Entry::Gone { path: "a".into() }])], "", true);
    assert!(part.meta.progress && !part.meta.complete && part.files.len() == 1);
}

#[test]
fn keys_that_no_config_map_holds_are_said_with_their_size() {
    let mut part = Part::new("r", 1);
    let key = "k".repeat(2000);
    let all = (0..600).map(|file| stored(&format!("file {file}"), &format!("{key}{file}"), 1, 1, 1)).collect();
    part.absorb(1, &[Report { entries: all, ..Report::default() }], "", true);
    assert!(part.meta.too_large.is_some_and(|kib| kib > 1200), "{:?}", part.meta.too_large);
    assert!(part.keys(|at| at).len() <= LARGEST_KEYS && part.files.len() > 350);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let path = "[ -~é]{1,40}(/[a-z0-9 %=é\\\\]{1,20}){0,3}";
    let reason = prop::sample::select(Reason::ALL.to_vec());
    let modified = -1_000_000_000_000_000_i128..4_000_000_000_000_000;
    prop_oneof![
        8 => (path, "[ -~é]{1,60}", any::<bool>(), modified, 1_764_000_000..1_764_800_000_i64, any::<u64>()).prop_map(
            |(path, key, named, modified, second, size)| {
                let key = if named { format!("{key}/{}", path.rsplit('/').next().unwrap()) } else { key };
                stored(&path, &key, modified, second, size)
            }
        ),
        1 => path.prop_map(|path| Entry::Gone { path }),
        2 => (prop::option::of(path), reason, "[ -~é]{0,80}", prop::option::of(0..9_999_999_u64)).prop_map(
            |(path, reason, message, wait)| {
                let retry_after = wait.map(std::time::Duration::from_secs);
                Entry::Failed { path, trouble: Trouble { retry_after, ..Trouble::new(reason, message) } }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_and_no_report_is_too_long(entries in prop::collection::vec(any_entry(), 0..60)) {
        let (text, count) = written(&entries);
        prop_assert!(text.len() <= LIMIT);
        let report = read(&text).unwrap();
        prop_assert!(!report.garbled, "{}", text);
        prop_assert_eq!(report.entries.len(), count);
        for (read, entry) in report.entries.iter().zip(&entries) {
            if let (Entry::Failed { path, trouble }, Entry::Failed { path: of, trouble: said }) = (read, entry) {
                prop_assert_eq!((path, trouble.reason, trouble.retry_after), (of, said.reason, said.retry_after));
            } else {
                prop_assert_eq!(read, entry);
            }
        }
    }

    #[test]
    fn no_text_makes_more_than_a_report_can_hold(lines in prop::collection::vec("[-+=~a-z0-9 :*\"\\\\%é]{0,200}", 0..80)) {
        let text = format!("{VERSION}\n{}\n", lines.join("\n"));
        let report = read(&text).unwrap();
        prop_assert!(report.entries.len() <= 600);
        let paths = report.entries.iter().map(|entry| match entry {
            Entry::Stored { path, .. } | Entry::Gone { path } => path.len(),
            Entry::Failed { path, .. } => path.as_ref().map_or(0, String::len),
        });
        prop_assert!(paths.max().unwrap_or_default() <= LONGEST_PATH);
    }

    #[test]
    fn a_report_that_is_torn_anywhere_keeps_its_whole_lines(cut in 0..3000_usize) {
        let (text, count) = written(&frames(40));
        let torn = &text[..text.floor_char_boundary(cut)];
        if let Ok(report) = read(torn) {
            prop_assert!(!report.garbled && report.entries.len() <= count);
            let whole = torn.matches('\n').count().saturating_sub(2);
            prop_assert_eq!(report.entries.len(), whole);
        }
    }
}

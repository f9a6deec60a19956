//! The report in a browser: what it shows, that its chart is drawn, and that it asks nobody for anything.

use std::{
    fmt::Write as _,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::read::ZlibDecoder;
use libtest_mimic::Failed;

use crate::harness::{Case, Outcome, Scene, process::output, tidegate::Tidegate};

/// Debian's names for it.
const BROWSERS: [&str; 2] = ["chromium-headless-shell", "chromium"];
/// The curves' colours, and what each is of.
const CURVES: [([u8; 3], &str); 3] = [
    ([0x1a, 0x7f, 0x37], "recall"),
    ([0x09, 0x69, 0xda], "precision"),
    ([0xb4, 0x23, 0x18], "false positives"),
];
/// Pixels of a curve: it is two wide and hundreds long.
const DRAWN: usize = 300;

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(the_report_is_drawn_by_a_browser_and_asks_nobody).slow()]
}

fn the_report_is_drawn_by_a_browser_and_asks_nobody(scene: &Scene) -> Outcome {
    let browser = browser()?;
    let report = report(scene)?;
    let dom = look(scene, browser, &report, &["--dump-dom"])?;
    let text = shown(&dom);
    // What came out stands on top, then the chart, then who would have been blocked and why.
    let place = |words: &str| text.find(words).ok_or_else(|| format!("no `{words}` in {text}"));
    let places = [
        place("1 source would have been blocked, 0 rate-limited and 0 alerted on.")?,
        place("No source that is labelled benign would have been blocked or limited.")?,
        place("Over the threshold")?,
        place("10.0.0.1")?,
        place("first contacts failed, at 1 host, 10.0.0.2 port")?,
        place("Without each signal")?,
    ];
    assert!(places.is_sorted(), "{places:?} in {text}");
    assert!(text.contains("a & b <i>"), "what others wrote is no markup: {text}");

    let shot = scene.path("shot.png");
    let arguments = [format!("--screenshot={}", shot.display()), "--window-size=1200,1000".into()];
    look(scene, browser, &report, &[&arguments[0], &arguments[1]])?;
    let pixels = pixels(&fs::read(&shot)?)?;
    for (colour, what) in CURVES {
        let drawn = pixels.iter().filter(|pixel| **pixel == colour).count();
        assert!(drawn >= DRAWN, "{what}: {drawn} pixels");
    }

    // Nothing was asked of anybody; of a page that does ask, the same log tells.
    assert_eq!(asked(scene)?, Vec::<String>::new());
    let curious = scene.write("curious.html", "<img src='http://asked.example/x.png'>");
    look(scene, browser, &curious, &["--dump-dom"])?;
    let told = asked(scene)?;
    assert!(told.iter().any(|url| url.contains("asked.example")), "{told:?}");
    Ok(())
}

/// A report of a scanner, who moves up and down the curves, and of clients.
fn report(scene: &Scene) -> Result<PathBuf, Failed> {
    let row = |time: u32, source: u32, port: u32, state: &str| {
        format!(
            "{{\"ts\":{time}.5,\"id.orig_h\":\"10.0.0.{source}\",\"id.resp_h\":\"10.0.0.2\",\"id.resp_p\":{port},\
             \"proto\":\"tcp\",\"conn_state\":\"{state}\"}}\n"
        )
    };
    let mut log: String = (1..30).map(|port| row(port, 1, port, "REJ")).collect();
    let mut labels = "src,label,scenario\n10.0.0.1,scan,a & b <i>\n".to_owned();
    for client in 3..40 {
        log += &row(client, client, 443, "SF");
        writeln!(labels, "10.0.0.{client},benign,")?;
    }
    let labels = scene.write("labels.csv", labels);
    let (log, page) = (scene.write("conn.log", log), scene.path("report.html"));
    let tidegate = Tidegate::new(scene, ["tune", "--labels"]).arg(labels).arg("--report");
    tidegate.arg(&page).arg(log).run()?.expect(0)?;
    Ok(page)
}

fn browser() -> Result<&'static str, Failed> {
    let is_there = |name: &&str| {
        let mut which = Command::new("sh");
        which.args(["-c", &format!("command -v {name}")]).stdout(Stdio::null());
        which.status().is_ok_and(|status| status.success())
    };
    BROWSERS.into_iter().find(is_there).ok_or_else(|| {
        "there is no browser to look at the report with: neither chromium-headless-shell nor chromium; \
         scripts/install-deps test-full installs it"
            .into()
    })
}

/// Opens a page, to which no name leads anywhere, and answers what was printed.
fn look(scene: &Scene, browser: &str, page: &Path, more: &[&str]) -> Result<String, Failed> {
    let log = scene.path("net.json");
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let profile = scene.path("profile");
    output(
        Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--log-net-log={}", log.display()))
            .args(more)
            .arg(format!("file://{}", page.display())),
    )
}

/// The URLs that the browser asked for over a network, by its own log.
fn asked(scene: &Scene) -> Result<Vec<String>, Failed> {
    let log = fs::read_to_string(scene.path("net.json"))?;
    assert!(log.contains("\"events\""), "no log: {log}");
    let urls = log.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    Ok(urls.filter(|url| !url.starts_with("file:")).map(str::to_owned).collect())
}

/// The text of a document, as somebody reads it.
fn shown(dom: &str) -> String {
    let body = dom.split_once("<body>").map_or(dom, |(_, body)| body);
    let mut text = String::new();
    for part in body.split('<') {
        text.push(' ');
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The pixels of a PNG of 8 bits a channel, without its transparency.
fn pixels(png: &[u8]) -> Result<Vec<[u8; 3]>, Failed> {
    let mut rest = png.get(8..).ok_or("no PNG")?;
    let (mut packed, mut header) = (Vec::new(), None);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (kind, behind) = behind.split_first_chunk::<4>().ok_or("a chunk is cut")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (data, behind) = behind.split_at_checked(length).ok_or("a chunk is cut")?;
        match kind {
            b"IHDR" => header = data.first_chunk::<13>(),
            b"IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        rest = behind.get(4..).ok_or("a chunk is cut")?;
    }
    let [a, b, c, d, _, _, _, _, 8, colours, 0, 0, 0] = *header.ok_or("no header")? else {
        return Err("a PNG of another kind".into());
    };
    let each = match colours {
        2 => 3,
        6 => 4,
        _ => return Err("a PNG of another kind".into()),
    };
    let width = u32::from_be_bytes([a, b, c, d]) as usize * each;
    let mut bytes = Vec::new();
    ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
    let (mut pixels, mut above) = (Vec::new(), vec![0_u8; width]);
    for line in bytes.chunks_exact(width + 1) {
        let (filter, mut line) = (line[0], line[1..].to_vec());
        for at in 0..width {
            let left = if at < each { 0 } else { line[at - each] };
            let corner = if at < each { 0 } else { above[at - each] };
            line[at] = line[at].wrapping_add(predicted(filter, left, above[at], corner));
        }
        pixels.extend(line.chunks_exact(each).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
        above = line;
    }
    Ok(pixels)
}

/// What a PNG's filter takes a byte to be near to.
fn predicted(filter: u8, left: u8, above: u8, corner: u8) -> u8 {
    match filter {
        1 => left,
        2 => above,
        3 => u8::midpoint(left, above),
        4 => {
            let guess = i16::from(left) + i16::from(above) - i16::from(corner);
            let off = |value: u8| (guess - i16::from(value)).abs();
            [left, above, corner].into_iter().min_by_key(|value| off(*value)).unwrap_or(0)
        }
        _ => 0,
    }
}

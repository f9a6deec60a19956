use std::net::Ipv4Addr;

use hickory_resolver::proto::op::ResponseCode;

use super::*;
use crate::dns::scripted::{Reply, Scripted, TTL, alias, host, pointer, record};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4));
const POINTER: &str = "4.4.8.8.in-addr.arpa.";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// The answer for [`ADDRESS`] when PTR and address questions are answered so.
async fn answer(
    pointers: Reply,
    addresses: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Answer {
    let server = Scripted::start(move |name, record_type| match record_type {
        RecordType::PTR => pointers.clone(),
        _ => addresses(name),
    })
    .await;
    ask(&server, ADDRESS, true).await
}

async fn ask(server: &Scripted, address: IpAddr, forward_confirm: bool) -> Answer {
    let servers = [Server(server.address)];
    let resolver = Resolver::new(&servers, Private::Skip, forward_confirm).unwrap();
    resolver.ask(Question { address, route: Route::Public }).await
}

fn pointers(targets: &[&str]) -> Reply {
    Reply::Records(targets.iter().map(|target| pointer(ADDRESS, name(target))).collect())
}

fn names(reliable: &[&str], unverified: &[&str]) -> Answer {
    let boxed = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let names = HostNames {
        origin: NameOrigin::Ptr,
        reliable: boxed(reliable),
        unverified: boxed(unverified),
    };
    Answer::Names(names, seconds(TTL))
}

fn nobody(_: &str) -> Reply {
    Reply::BareNoName
}

#[tokio::test]
async fn a_name_that_leads_back_is_reliable_and_the_others_are_kept_apart() {
    let server = Scripted::start(|name, record_type| match (name, record_type) {
        (POINTER, RecordType::PTR) => pointers(&["Zeta.Example.", "alpha.example."]),
        ("5.4.8.8.in-addr.arpa.", RecordType::PTR) => {
            let address = [8, 8, 4, 5].into();
            let targets = ["nobody.example.", "liar.example."];
            Reply::Records(
                targets.iter().map(|target| pointer(address, self::name(target))).collect(),
            )
        }
        ("liar.example.", _) => Reply::Records(vec![host(name, [9, 9, 9, 9].into())]),
        ("alpha.example.", _) => {
            Reply::Records(vec![host(name, [1, 1, 1, 1].into()), host(name, ADDRESS)])
        }
        ("zeta.example.", _) => Reply::Records(vec![host(name, ADDRESS)]),
        _ => Reply::BareNoName,
    })
    .await;
    let found = ask(&server, ADDRESS, true).await;
    assert_eq!(found, names(&["alpha.example", "zeta.example"], &[]));
    let found = ask(&server, [8, 8, 4, 5].into(), true).await;
    assert_eq!(found, names(&[], &["liar.example", "nobody.example"]));

    let unconfirmed = ask(&server, ADDRESS, false).await;
    assert_eq!(unconfirmed, names(&[], &["alpha.example", "zeta.example"]));
}

#[tokio::test]
async fn an_ipv6_address_is_asked_for_under_ip6_arpa_and_confirmed_by_aaaa() {
    let address: IpAddr = "2606:4700::1111".parse().unwrap();
    let server = Scripted::start(move |name, record_type| match record_type {
        RecordType::PTR => Reply::Records(vec![pointer(address, self::name("six.example."))]),
        RecordType::AAAA => Reply::Records(vec![host(name, address)]),
        _ => Reply::BareNoName,
    })
    .await;
    assert_eq!(ask(&server, address, true).await, names(&["six.example"], &[]));
    let reverse = "1.1.1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.4.6.0.6.2.ip6.arpa. PTR";
    assert_eq!(server.asked(), [reverse, "six.example. AAAA"]);
}

#[tokio::test]
async fn a_delegated_zone_is_followed_and_foreign_records_are_not_believed() {
    let delegated = "4.0-63.4.8.8.in-addr.arpa.";
    let followed = Reply::Records(vec![
        alias(POINTER, delegated),
        record(delegated, RData::PTR(hickory_resolver::proto::rr::rdata::PTR(name("a.example.")))),
        pointer([1, 2, 3, 4].into(), name("www.bank.example.")),
    ]);
    let confirm = |name: &str| Reply::Records(vec![host(name, ADDRESS)]);
    assert_eq!(answer(followed, confirm).await, names(&["a.example"], &[]));

    let forged = |_: &str| Reply::Records(vec![host("other.example.", ADDRESS)]);
    let found = answer(pointers(&["www.bank.example."]), forged).await;
    assert_eq!(found, names(&[], &["www.bank.example"]));
}

#[tokio::test]
async fn each_way_to_have_no_name_is_told_from_the_others() {
    let cases = [
        (Reply::NoName(900, 60), Answer::Nameless(Some(seconds(60)))),
        (Reply::NoName(30, 900), Answer::Nameless(Some(seconds(30)))),
        (Reply::BareNoName, Answer::Nameless(None)),
        (Reply::Records(Vec::new()), Answer::Nameless(None)),
        (Reply::Code(ResponseCode::ServFail), Answer::Failed(Failure::Refused)),
        (Reply::Code(ResponseCode::Refused), Answer::Failed(Failure::Refused)),
        (Reply::Silence, Answer::Failed(Failure::Timeout)),
    ];
    for (reply, expected) in cases {
        assert_eq!(answer(reply.clone(), nobody).await, expected, "{reply:?}");
    }
}

#[tokio::test]
async fn hostile_names_are_refused_and_their_neighbours_kept() {
    let label = |bytes: &[u8]| Name::from_labels([bytes, b"example".as_slice()]).unwrap();
    let long = Name::from_labels([[b'a'; 61].as_slice(); 4]).unwrap();
    assert_eq!(long.to_ascii().trim_end_matches('.').len(), 247);
    let hostile = [
        label(b"\x1b[2J\x07"),
        label(b"new\nline"),
        label(b"nul\0"),
        label(b"<script>"),
        label(b"spa ce"),
        label(b"dot.in.label"),
        label("b\u{fc}cher".as_bytes()),
        name("10.0.0.1."),
        Name::root(),
    ];
    let pointers = |names: &[Name]| {
        Reply::Records(names.iter().map(|name| pointer(ADDRESS, name.clone())).collect())
    };
    let found = answer(pointers(&hostile), nobody).await;
    assert_eq!(found, Answer::Invalid(seconds(TTL)));

    let mut with_neighbours = hostile.to_vec();
    with_neighbours.extend([long.clone(), name("plain.example.")]);
    let found = answer(pointers(&with_neighbours), nobody).await;
    let long = long.to_ascii();
    assert_eq!(found, names(&[], &[long.trim_end_matches('.'), "plain.example"]));
}

#[tokio::test]
async fn a_flood_of_names_is_cut_to_the_first_in_order() {
    let targets: Vec<_> = (0..60).rev().map(|n| format!("n{n:02}.example.")).collect();
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    let Answer::Names(found, _) = answer(pointers(&targets), nobody).await else {
        panic!("no names");
    };
    assert_eq!(found.unverified.len(), MAX_NAMES);
    assert_eq!(&*found.unverified[MAX_NAMES - 1], "n15.example");
}

#[tokio::test]
async fn a_look_up_takes_three_questions_however_many_names_there_are() {
    let server = Scripted::start(|name, record_type| match record_type {
        RecordType::PTR => pointers(&["a.example.", "b.example.", "c.example.", "d.example."]),
        _ => Reply::Records(vec![host(name, ADDRESS)]),
    })
    .await;
    let found = ask(&server, ADDRESS, true).await;
    assert_eq!(found, names(&["a.example", "b.example"], &["c.example", "d.example"]));
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(asked, [&format!("{POINTER} PTR"), "a.example. A", "b.example. A"]);
}

#[tokio::test]
async fn nonsense_for_an_answer_is_a_failure_and_no_panic() {
    let cases = [vec![], vec![0x81, 0x80], vec![0xff; 600], [0x81, 0x80, 0, 1, 0, 9].repeat(9)];
    for bytes in cases {
        let found = answer(Reply::Bytes(bytes.clone()), nobody).await;
        assert!(matches!(found, Answer::Failed(_)), "{bytes:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_still_counts() {
    let slow = Reply::Late(Duration::from_millis(300), Box::new(pointers(&["slow.example."])));
    assert_eq!(answer(slow, nobody).await, names(&[], &["slow.example"]));
}

#[tokio::test]
async fn private_addresses_go_to_their_own_resolver_only() {
    let address: IpAddr = [10, 0, 0, 1].into();
    let public = Scripted::start(|_, _| Reply::BareNoName).await;
    let private = Scripted::start(move |_, record_type| match record_type {
        RecordType::PTR => Reply::Records(vec![pointer(address, name("nas.lan."))]),
        _ => Reply::Records(vec![host("nas.lan.", address)]),
    })
    .await;
    let asked = Private::Ask(Server(private.address));
    let resolver = Resolver::new(&[Server(public.address)], asked, true).unwrap();
    let found = resolver.ask(Question { address, route: Route::Private }).await;
    assert_eq!(found, names(&["nas.lan"], &[]));
    assert_eq!(public.asked(), Vec::<String>::new());
}

//! The whole program, with a ledger at both of its ends: nothing that was
//! acknowledged is lost, nothing is sent twice under another key, whatever
//! happens to the process, its receivers and its disk (`security.md` 4.2 to 4.4).
//!
//! Which test proves which invariant, by which control it is known that it can fail, and
//! which test brings about which fault, is here, for other files too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/clocks.rs"]
mod clocks;
#[path = "faults/controls.rs"]
mod controls;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/limits.rs"]
mod limits;
mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::collector::{Answer, Collector, Keep, moody};
use support::ledger::drain;
use support::load::Load;
use support::program::{CONFIG, Client, Gateway, Reply, eventually, holds_posts, postgate, retrying, send};
use support::small_disk::SmallDisk;
use support::{DEADLINE, nobody, octets_under, proofs};
use tempfile::TempDir;

/// Kills when `KILLS` does not say how many.
const KILLS: usize = 25;

/// Invariants, faults and controls, and what proves them.
const PROOFS: &str = "
I1 faults::nothing_is_lost_when_it_is_killed_again_and_again spool::a_power_cut_loses_nothing
I1 spool/standby::what_was_acknowledged_outlives_the_primary_and_what_was_not_is_kept_once
I1 faults/calls::nothing_is_lost_whichever_call_fails_or_is_the_last
I2 faults::nothing_is_lost_when_it_is_killed_again_and_again
I2 spool::a_failure_of_any_call_loses_nothing_and_brings_back_nothing_refused
I3 faults::nothing_is_lost_when_it_is_killed_again_and_again gateway::five_recipients_are_five_posts_or_none
I4 faults::nothing_is_lost_when_it_is_killed_again_and_again
I4 gateway::an_idempotency_key_makes_one_post_also_across_a_kill
I5 faults::a_stop_under_load_loses_and_repeats_nothing access::reloads_under_load_drop_nothing
I6 faults::a_stop_under_load_loses_and_repeats_nothing spool::a_moved_post_that_was_delivered_stays_away
I7 faults::nothing_is_lost_when_it_is_killed_again_and_again
I7 large::every_octet_comes_through_wherever_the_file_begins
I8 faults/limits::with_few_descriptors_mail_is_put_off_and_nothing_is_lost
I8 faults/clocks::what_waits_goes_on_when_the_clock_was_set_back_between_two_starts
I9 metrics::what_happened_is_counted_and_agrees_with_the_queue
I9 events::no_event_is_lost_when_it_is_killed_again_and_again
I9 accounting::no_record_is_lost_and_none_is_written_twice_when_it_is_killed_again_and_again
I10 faults/damage::damage_to_any_file_costs_what_was_hit_and_is_named
I10 spool_cli::each_kind_of_damage_is_named_with_its_place spool::each_post_whose_message_is_gone_is_counted
I10 metrics::damages_of_the_spool_are_counted deliver/requests::posts_end_by_attempts_by_age_and_by_damage
a spool::the_power_cut_test_notices_a_disk_that_lies
a spool/durable::the_power_cut_test_of_orders_notices_a_disk_that_lies
a faults/calls::what_a_disk_swallows_is_found_to_be_lost
b faults/controls::a_random_key_for_each_attempt_is_found
c faults/controls::one_request_in_a_thousand_that_never_came_is_found
d faults/controls::one_octet_that_changes_on_the_way_is_found
e faults/controls::a_post_that_is_noted_as_done_before_the_response_is_found_to_be_lost
F1 faults::nothing_is_lost_when_it_is_killed_again_and_again
F1 faults/calls::nothing_is_lost_whichever_call_fails_or_is_the_last
F1 events::no_event_is_lost_when_it_is_killed_again_and_again
F1 told::every_event_reaches_its_webhooks_when_it_is_killed_again_and_again
F1 accounting::no_record_is_lost_and_none_is_written_twice_when_it_is_killed_again_and_again
F1 restart::the_order_of_posts_goes_back_by_none_but_the_last_when_it_is_killed
F1 database::nothing_is_lost_when_the_gateway_is_killed
F1 large::nothing_is_left_of_an_upload_that_was_killed
F2 spool::a_power_cut_loses_nothing spool/durable::a_power_cut_undoes_no_order_and_no_note
F2 spool/events::a_power_cut_leaves_no_change_without_its_event_and_no_event_without_its_change
F2 spool::a_power_cut_behind_a_start_on_a_full_disk_loses_nothing
F3 faults::a_full_disk_refuses_mail_delivers_what_is_there_and_recovers
F3 faults/calls::nothing_is_lost_whichever_call_fails_or_is_the_last
F3 spool::a_full_disk_refuses_posts_settles_others_and_recovers spool::a_full_disk_stops_no_start
F3 large::r10_an_upload_that_meets_the_reserve_is_refused_at_its_end_and_gives_its_room_back
F3 accounting::a_full_disk_stops_accounting_alone_and_nothing_is_lost
F4 faults/calls::nothing_is_lost_whichever_call_fails_or_is_the_last
F4 spool::a_failure_of_any_call_loses_nothing_and_brings_back_nothing_refused
F4 spool/durable::a_failure_of_any_call_undoes_no_order_and_no_note
F4 spool::a_read_error_at_start_deletes_no_segment
F5 spool::a_power_cut_loses_nothing fuzz::spool
F6 faults/damage::damage_to_any_file_costs_what_was_hit_and_is_named
F6 spool::damage_costs_what_was_hit_and_is_announced
F6 spool::a_lost_segment_header_or_file_costs_no_other_post
F6 spool_cli::each_kind_of_damage_is_named_with_its_place
F7 faults/clocks::retries_keep_to_their_schedule_and_nothing_expires_when_the_clock_jumps
F7 faults/clocks::what_waits_goes_on_when_the_clock_was_set_back_between_two_starts
F7 faults/clocks::times_that_mail_asks_for_are_kept_to_when_the_clock_was_set_before_it_came
F7 faults/clocks::what_waits_and_what_failed_keep_their_times_when_the_clock_was_set_after_the_start
F7 told::what_is_held_ends_when_its_time_has_passed_and_not_by_the_clock_of_the_machine
F8 attacks/receivers::d1_silence_in_every_phase_is_cut_off_and_delays_nobody_else
F8 attacks/receivers::d4_a_request_cut_off_anywhere_is_repeated_under_the_same_key
F8 attacks/receivers::d6_retry_after_is_for_the_whole_destination_and_bounded
F8 attacks/receivers::d7_every_status_has_its_meaning
F8 attacks/receivers::d8_certificates_that_prove_nothing_are_refused_by_their_name
F9 attacks/egress::u16_whatever_name_servers_do_an_attempt_ends_in_time
F9 attacks/egress::u8_a_name_that_changes_its_mind_gains_nothing
F10 faults::a_stop_under_load_loses_and_repeats_nothing
F10 gateway::a_stop_closes_the_listener_at_once_and_finishes_transactions
F10 gateway::an_attempt_that_a_stop_cut_off_is_counted
F11 access::reloads_under_load_drop_nothing
F11 reload::destinations_keys_profiles_and_egress_change_without_a_restart
F12 gateway::one_data_directory_is_for_one_process_and_for_nobody_else_to_read
F12 database::a_second_gateway_on_a_database_is_refused_and_told_which_one_has_it
F12 spool::a_second_process_is_refused_and_nobody_else_can_look
F13 spool/durable::a_spool_of_format_1_loses_nothing spool/durable::spools_of_formats_2_to_4_lose_nothing
F13 spool/durable::a_spool_of_a_later_version_is_refused
F14 faults/limits::with_few_descriptors_mail_is_put_off_and_nothing_is_lost
F14 faults/limits::without_more_threads_mail_is_put_off_and_nothing_is_lost
F14 attacks/resources::without_descriptors_accepting_rests_and_goes_on
F14 listener::memory_for_mail_data_has_one_budget
F15 faults::mail_flows_whatever_becomes_of_the_logs
F16 faults::a_loop_of_restarts_neither_grows_nor_hammers
F16 restart::a_rate_of_an_hour_is_kept_to_however_often_the_gateway_is_killed
";

#[test]
fn every_invariant_fault_and_control_has_its_test() {
    let rows = || proofs::rows(&[("I", 10), ("F", 16)]).chain(["a", "b", "c", "d", "e"].map(str::to_owned));
    assert_eq!(proofs::complaints(PROOFS, rows()), Vec::<String>::new());
    let without = PROOFS.replace("\nd faults/controls::one_octet_that_changes_on_the_way_is_found", "");
    assert_eq!(proofs::complaints(&without, rows()), ["d: nothing proves it"]);
}

#[test]
fn nothing_is_lost_when_it_is_killed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, moody);
    let load = Load::begin(16, receiver.address);
    let mut dice = fastrand::Rng::with_seed(25);
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for _ in 0..kills {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + dice.usize(20..120);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
    }
    let sent = load.end();
    let audit = drain(directory.path(), CONFIG, &sent, &receiver);
    let accepted = sent.iter().filter(|message| message.reply.is_accepted()).count();
    let (requests, repeats) = (receiver.count(), audit.repeated.len());
    let told = format!(
        "{kills} kills: {accepted} of {} messages accepted, {requests} requests, {repeats} of them repeats; {:?}",
        sent.len(),
        audit.wrongs()
    );
    println!("{told}");
    assert!(accepted > kills * 20 && sent.len() > accepted, "{told}");
    assert!(audit.wrongs().is_empty(), "{told} {audit:#?}");
    // What was under way to 20 connections, and what had just come back.
    assert!(repeats < kills * 40, "{told}");
}

#[test]
fn a_stop_under_load_loses_and_repeats_nothing() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, |_| Answer::Status(200));
    let load = Load::begin(8, receiver.address);
    for _ in 0..4 {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + 100;
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        let begun = Instant::now();
        assert_eq!(gateway.end("-TERM"), 0);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
    let sent = load.end();
    let audit = drain(directory.path(), CONFIG, &sent, &receiver);
    assert!(audit.wrongs().is_empty(), "{:?} {audit:#?}", audit.wrongs());
    assert!(audit.repeated.is_empty(), "{:?}", audit.repeated);
    let nothing = sent.iter().filter(|message| message.reply == Reply::Nothing).count();
    assert_eq!(nothing, 0, "a message whose last octet was taken is answered");
}

#[test]
fn a_loop_of_restarts_neither_grows_nor_hammers() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(500));
    let config = retrying(r#"["1h"]"#);
    let mut gateway = Gateway::start(directory.path(), &config);
    let recipients: Vec<_> = (0..20).map(|post| receiver.recipient(&format!("/{post}"))).collect();
    send(gateway.smtp, &recipients, "\r\nx\r\n").id();
    receiver.received(20);
    gateway.end("-KILL");
    receiver.is_alone();
    let cut_short = receiver.count();
    let (mut sizes, mut tried, mut starts_that_tried) = (Vec::new(), cut_short, 0);
    let mut dice = fastrand::Rng::with_seed(16);
    for _ in 0..20 {
        let mut child = Gateway::spawn(&mut postgate(directory.path()), directory.path());
        // The fault: it may not even have begun.
        std::thread::sleep(Duration::from_millis(dice.u64(20..180)));
        child.kill().unwrap();
        child.wait().unwrap();
        receiver.is_alone();
        starts_that_tried += u64::from(receiver.count() > tried);
        tried = receiver.count();
        sizes.push((octets_under(&directory.path().join("postgate-data")), starts_that_tried));
    }
    assert!(receiver.count() <= cut_short + 20, "{} after {cut_short}", receiver.count());
    for (arrival, _) in receiver.arrivals() {
        assert!(arrival.attempt() <= 22, "{arrival:?}");
    }
    // A start that wrote what became of an attempt leaves its segment; of all others there is one.
    let (first, _) = sizes[0];
    assert!(sizes.iter().all(|(size, starts)| *size < first + (1 + starts) * (5 << 20)), "{sizes:?}");
}

#[test]
fn a_full_disk_refuses_mail_delivers_what_is_there_and_recovers() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("postgate-data");
    fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, 200 << 20, 0) else { return };
    let receiver = Collector::start(|_| Answer::Status(200));
    let config = CONFIG.replace("[limits]", "[limits]\nmessage_size = \"1MiB\"");
    let mut gateway = Gateway::start(directory.path(), &config);
    let later = "X-Postgate-Not-Before: 2s\r\n\r\nx\r\n";
    let recipients: Vec<_> = (0..20).map(|post| receiver.recipient(&format!("/{post}"))).collect();
    send(gateway.smtp, &recipients, later).id();
    let mut begun = Client::connect(gateway.smtp).unwrap();
    begun.envelope(&[receiver.recipient("/begun")]).unwrap();
    disk.fill();
    let mail = |client: &mut Client| client.say("MAIL FROM:<a@app.example>").unwrap();
    let is_refused = |gateway: &Gateway| {
        let reply = || Some(mail(&mut Client::connect(gateway.smtp)?));
        eventually("a refusal", DEADLINE, || reply().filter(|reply| reply.starts_with("452 4.3.1 ")));
    };
    is_refused(&gateway);
    begun.write(b"\r\nx\r\n.\r\n").unwrap();
    assert!(begun.reply().unwrap().starts_with("452 4.3.1 "));
    receiver.received(20);
    assert!(mail(&mut begun).starts_with("452 4.3.1 "), "it is still full");
    // It starts on a full disk as well, again and again, and has noted there
    // what was delivered.
    for signal in ["-TERM", "-KILL", "-KILL"] {
        gateway.end(signal);
        gateway = Gateway::start(directory.path(), &config);
        is_refused(&gateway);
    }
    disk.relieve();
    let accepted =
        || Some(mail(&mut Client::connect(gateway.smtp)?)).filter(|reply| reply.starts_with("250 "));
    eventually("mail to be taken again", DEADLINE, accepted);
    send(gateway.smtp, &[receiver.recipient("/after")], "\r\nx\r\n").id();
    let arrivals = receiver.received(21);
    assert_eq!((arrivals[20].path.as_str(), arrivals.len()), ("/after", 21));
    assert_eq!(gateway.end("-TERM"), 0);
    assert!(!holds_posts(directory.path()));
}

#[test]
fn mail_flows_whatever_becomes_of_the_logs() {
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let broken: [(&str, &dyn Fn() -> Stdio); 2] = [("full", &full), ("gone", &gone)];
    for (how, output) in broken {
        let directory = TempDir::new().unwrap();
        let receiver = Collector::start(|_| Answer::Status(200));
        let days = directory.path().join("postgate-data/log");
        fs::create_dir_all(&days).unwrap();
        Command::new("chmod").arg("700").arg(days.parent().unwrap()).status().unwrap();
        // Today's, and tomorrow's if it is near.
        for hours in [0, 12] {
            let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            let name = format!("protocol-{}.log", &day.to_string()[..10]);
            // The second is the first again before noon.
            let _ = std::os::unix::fs::symlink("/dev/full", days.join(name));
        }
        // Nobody can say which port it is: it is one that is kept for it.
        let (_bound, free) = nobody();
        let config = CONFIG.replace("127.0.0.1:0", &free.to_string());
        fs::write(directory.path().join("postgate.toml"), format!("{config}\n[log]\nlevel = \"trace\"\n"))
            .unwrap();
        let mut command = postgate(directory.path());
        let child = command.stdout(output()).stderr(output()).spawn().unwrap();
        let mut gateway = Gateway::at(child, free);
        let mut client = eventually("a greeting", DEADLINE, || Client::connect(free));
        // The repair of the body is worth a line of the operational log.
        let message = "X-XsHttp-Content-Type: application/json\r\n\r\n{\"a\":\r\n \"b\r\nc\"}\r\n";
        for number in 1..4 {
            let reply = client.send(&[receiver.recipient("/")], message.as_bytes());
            assert!(reply.is_accepted(), "{how}: {reply:?}");
            assert_eq!(
                receiver.received(number)[number - 1].headers["postgate-repaired"],
                "line-cuts",
                "{how}"
            );
        }
        assert!(client.say("QUIT").is_some());
        assert_eq!(gateway.end("-TERM"), 0, "{how}");
        assert!(!holds_posts(directory.path()));
    }
}

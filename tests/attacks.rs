//! `security.md` sections 2.1 to 2.9, of 2.10 what the API has to do with, and 2.11:
//! which test proves which row, and those tests that have no better place.
//!
//! A test stands at its row as `file::function`, a dialogue of `dialogs.rs` as the
//! name of its file. What is named here and is not there is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "attacks/api.rs"]
mod api;
#[path = "attacks/authentication.rs"]
mod authentication;
#[path = "support/authority.rs"]
mod authority;
#[path = "attacks/commands.rs"]
mod commands;
#[path = "attacks/content.rs"]
mod content;
#[path = "attacks/egress.rs"]
mod egress;
#[path = "attacks/encryption.rs"]
mod encryption;
#[path = "attacks/formats.rs"]
mod formats;
#[path = "attacks/framing.rs"]
mod framing;
#[path = "support/front.rs"]
mod front;
#[path = "attacks/loops.rs"]
mod loops;
#[path = "attacks/receivers.rs"]
mod receivers;
#[path = "attacks/requests.rs"]
mod requests;
#[path = "attacks/resources.rs"]
mod resources;
#[path = "attacks/secrets.rs"]
mod secrets;
mod support;

use support::proofs;

/// The last row of each letter.
const LAST: &[(&str, usize)] = &[
    ("S", 12),
    ("C", 15),
    ("T", 9),
    ("A", 7),
    ("R", 11),
    ("M", 12),
    ("H", 11),
    ("U", 16),
    ("D", 12),
    ("L", 5),
];

/// Rows of letters that have others besides.
const SINGLE: &[&str] =
    &["P3", "P4", "P6", "P7", "P8", "P9", "P10", "K1", "K2", "K3", "K4", "K5", "K6", "K8", "K9"];

/// Each row, and what proves it.
const PROOFS: &str = "
S1 smuggling-refuse-lf-dot-lf framing::every_sequence_is_refused_wherever_it_is_cut
S2 smuggling-refuse-lf-dot-crlf framing::every_sequence_is_refused_wherever_it_is_cut
S3 smuggling-refuse-crlf-dot-lf framing::every_sequence_is_refused_wherever_it_is_cut
S4 smuggling-refuse-cr-dot-crlf smuggling-refuse-cr-dot-cr smuggling-refuse-cr-dot-lf
S4 smuggling-refuse-lf-dot-cr smuggling-refuse-crlf-dot-cr
S5 smuggling-refuse-nul-before-dot smuggling-refuse-nul-behind-dot
S6 smuggling-refuse-crlf-dot-crcrlf smuggling-refuse-crcrlf-dot-crcrlf refuse-takes-clean-mail
S7 framing::every_sequence_is_refused_wherever_it_is_cut framing::the_control_is_found_to_store_two
S7 framing::every_sequence_is_refused_wherever_it_is_cut_under_tls
S8 framing::what_is_smuggled_in_a_message_that_is_too_large_is_never_a_command
S8 size-and-smuggling refuse-too-large-and-bare
S9 framing::every_sequence_is_content_of_one_message_wherever_it_is_cut
S9 framing::every_sequence_is_content_of_one_message_wherever_it_is_cut_under_tls
S9 smuggling-normalize-lf-dot-lf smuggling-normalize-lf-dot-crlf smuggling-normalize-crlf-dot-lf
S9 smuggling-normalize-cr-dot-crlf smuggling-normalize-cr-dot-cr smuggling-normalize-cr-dot-lf
S9 smuggling-normalize-lf-dot-cr smuggling-normalize-crlf-dot-cr
S9 smuggling-normalize-nul-before-dot smuggling-normalize-nul-behind-dot
S9 smuggling-normalize-crlf-dot-crcrlf smuggling-normalize-crcrlf-dot-crcrlf
S10 message-dots message-empty large::dots_and_line_ends_survive_every_place_where_a_piece_can_end
S11 bare-lf-in-command-normalize bare-lf-in-command-refuse auth-bare-lf-in-answer
S12 framing::what_is_posted_is_not_taken_for_the_end_of_anything
C1 listener::a_client_that_speaks_first_is_cut_off wire::a_client_that_speaks_first_under_tls_is_cut_off
C1 arrival::a_unix_socket_may_be_begun_with_tls_and_with_too_much_talk
C2 commands::what_waits_behind_the_end_of_a_group_ends_the_session
C2 pipelining-ehlo pipelining-helo lmtp-pipelining-lhlo pipelining-data-with-body pipelining-quit
C2 pipelining-auth pipelining-auth-answer pipelining-auth-both-answers pipelining-auth-refused
C2 pipelining-behind-auth-answer pipelining-behind-auth-cancelled pipelining-noop-vrfy
C2 starttls-refused-and-more
C3 pipelining commands::a_group_of_a_hundred_recipients_is_answered_in_order
C4 pipelining-body-nobody-asked-for starttls-required-body-nobody-asked-for
C4 body-later-after-refused-data
C5 data-after-refused-rcpt pipelining-refused-rcpt pipelining-body-after-refused-rcpts
C6 data-before-rcpt rcpt-before-mail mail-twice rset-at-any-point rset-ends-transaction
C6 ehlo-ends-transaction helo-ends-transaction helo-missing
C7 http-get http-post http-connect http-other-methods http-late tls-client-hello tls-client-hello-later
C8 errors-slow-and-close errors-below-the-limit junk-commands junk-between-messages unknown-command
C8 listener::errors_slow_a_client_down
C9 mail-parameters mail-parameters-wrong
C10 utf8-addresses control-characters
C11 vrfy-expn-help
C12 null-sender sloppy-paths bad-paths url-recipients policy::who_may_name_which_url
C13 line-end-in-address control-characters listener::the_protocol_log_shows_the_dialogue
C14 commands::a_client_may_go_at_any_octet
C14 listener::a_session_cut_at_any_octet_keeps_whole_messages_only
C15 bdat commands::what_waits_behind_the_end_of_a_group_ends_the_session
T1 wire::nothing_said_in_the_clear_is_taken_for_said_under_tls
T1 starttls-injection starttls-injection-of-an-octet
T2 wire::handshakes_that_fail_say_why_in_the_log
T3 starttls-forgets wire::starttls_forgets_what_was_said_before_it
T4 starttls-out-of-place starttls-implicit starttls-not-offered starttls-first
T5 auth-before-tls auth-not-offered
T5 authentication::in_the_clear_nothing_is_offered_and_nothing_looked_at
T6 starttls-forgets-the-login
T7 wire::an_end_of_tls_in_mail_data_stores_nothing
T7 wire::sessions_are_resumed_and_early_data_is_not_taken
T7 encryption::a_renegotiation_is_refused_and_stores_nothing
T8 wire::versions_of_the_last_century_are_refused wire::the_server_name_chooses_the_certificate
T8 wire::names_in_a_client_certificate_count_when_it_is_vouched_for
T9 wire::a_handshake_that_stalls_is_cut_off_and_counts
T9 resources::slow_clients_are_cut_off_and_keep_nobody_waiting
A1 auth-out-of-place
A2 auth-malformed auth-nobodys-names auth-plain-empty-initial-response auth-external-empty-line
A2 auth-line-at-the-limit auth-line-one-past-the-limit auth-answer-one-past-the-limit
A3 authentication::three_failures_end_a_connection_and_ten_lock_an_address
A3 logins::ten_failures_lock_an_address_and_a_name auth-below-the-limit-of-failures
A3 auth-failures-close auth-failures-are-not-forgiven auth-failures-outlive-tls
A3 auth-failures-from-elsewhere
A4 logins::an_unknown_user_takes_as_long_as_a_wrong_password
A4 authentication::three_failures_end_a_connection_and_ten_lock_an_address
A5 authentication::a_challenge_is_for_one_answer_on_its_own_connection
A5 auth-cram-md5 auth-cram-md5-wrong logins::a_digest_proves_a_password_that_is_known
A5 logins::challenges_are_never_the_same_and_say_who_asks
A6 logins::what_is_not_offered_is_not_taken
A6 authentication::in_the_clear_nothing_is_offered_and_nothing_looked_at
A7 mail-auth-parameter policy::posts_are_their_tenants
R1 resources::slow_clients_are_cut_off_and_keep_nobody_waiting
R1 listener::a_command_in_drops_is_no_activity listener::slow_mail_data_is_cut
R1 listener::a_crowd_shortens_patience wire::a_crowd_shortens_patience_with_handshakes
R2 resources::who_reads_no_replies_is_cut_off wire::replies_that_are_not_read_end_the_session
R2 listener::replies_that_are_not_read_end_the_session
R2 resources::no_commands_make_more_replies_than_a_buffer_holds
R3 resources::the_fifty_first_of_an_address_and_the_three_hundred_first_of_a_minute
R3 listener::connections_in_all listener::connections_of_one_address
R3 listener::new_connections_of_one_address_within_a_minute
R4 resources::an_idle_connection_costs_little_memory
R5 resources::a_line_without_end_is_refused_at_the_limit line-without-end
R5 line-at-the-limit line-one-past-the-limit line-of-4096-octets auth-line-limit-is-for-auth-alone
R6 large::r6_the_size_limit_holds_whatever_the_client_says_and_discarding_is_free
R6 size-at-the-limit size-one-past-the-limit size-declared lmtp-too-large
R7 large::r7_a_line_of_25_mb_takes_no_memory_while_it_comes one-long-line
R8 resources::recipients_past_the_limit_are_refused_and_then_errors
R8 recipients-at-the-limit recipients-far-past-the-limit
R9 resources::a_thousand_messages_of_a_connection_and_one_more messages-at-the-limit
R10 large::r10_an_upload_that_meets_the_reserve_is_refused_at_its_end_and_gives_its_room_back
R10 large::r10_without_inodes_mail_is_refused_delivered_and_taken_again
R10 faults::a_full_disk_refuses_mail_delivers_what_is_there_and_recovers spool-full
R11 resources::without_descriptors_accepting_rests_and_goes_on
R11 listener::accepting_goes_on_after_descriptors_ran_out
M1 content::m1_multipart_nesting formats::every_format_endures_every_row
M2 content::m2_message_nesting formats::every_format_endures_every_row
M3 content::m3_empty_parts formats::every_format_endures_every_row
M4 content::m4_parameters_in_pieces formats::every_format_endures_every_row
M5 content::m5_header_fields_and_folds formats::every_format_endures_every_row header-at-the-limits
M5 header-one-field-past-the-limit header-one-octet-past-the-limit
M6 content::m6_encoded_words_and_charsets formats::every_format_endures_every_row
M7 content::m7_boundaries_that_mislead formats::every_format_endures_every_row
M8 content::m8_file_names formats::every_format_endures_every_row
M9 content::m9_bombs_are_data formats::every_format_endures_every_row
M10 content::m10_hardly_a_message formats::every_format_endures_every_row message-octets
M11 content::m11_fields_that_contradict formats::every_format_endures_every_row
M12 content::m12_documents_are_json_and_safe_in_a_page formats::every_format_endures_every_row
H1 requests::h1_a_folded_value_is_one_line
H2 requests::h2_a_value_that_decodes_to_a_control_character_is_refused
H3 requests::h3_framing_and_connection_are_not_the_mails_to_set
H4 requests::h4_what_is_the_gateways_own_is_there_once_and_true
H4 signing::profiles_replace_what_a_message_says_of_itself
H5 requests::h5_methods_are_five
H6 requests::h6_steering_has_limits
H7 requests::h7_repeats_are_kept_in_order_or_refused
H8 requests::h8_a_type_that_the_mail_names_is_of_the_body_that_it_wrote
H9 requests::h9_strangers_steer_no_route policy::headers_steer_what_listener_and_tenant_let_them
H10 requests::h10_a_body_has_its_length_and_a_response_its_end
H11 receivers::h11_the_first_final_response_counts
H11 receivers::d3_a_connection_whose_framing_is_doubtful_is_not_used_again
U1 egress::u1_u2_u3_what_is_no_url_to_post_to_is_refused_before_anything_is_parsed fuzz::url
U2 egress::u1_u2_u3_what_is_no_url_to_post_to_is_refused_before_anything_is_parsed
U3 egress::u1_u2_u3_what_is_no_url_to_post_to_is_refused_before_anything_is_parsed
U4 egress::u4_u5_u6_an_address_is_what_it_is_however_it_is_written
U5 egress::u4_u5_u6_an_address_is_what_it_is_however_it_is_written
U6 egress::u4_u5_u6_an_address_is_what_it_is_however_it_is_written
U7 egress::u7_one_forbidden_address_forbids_all
U8 egress::u8_a_name_that_changes_its_mind_gains_nothing
U9 egress::u9_no_kept_connection_outlives_its_permission
U10 egress::u10_redirects_are_not_followed outbound/redirects::what_is_not_followed_fails_with_where_it_led
U10 outbound/redirects::a_hop_is_judged_as_untrusted_whoever_named_the_first_url
U11 egress::u11_proxies_of_the_environment_are_nobodys
U11 outbound/proxies::the_egress_rules_hold_before_a_proxy_is_asked
U12 egress::u12_ports_of_other_protocols_are_refused
U13 egress::u13_names_of_the_inside_are_no_names
U14 egress::u14_the_form_that_is_asked_for_decides
U15 egress::u15_the_gateway_posts_never_to_itself
U15 egress::u15_a_listener_on_all_addresses_is_known_by_each
U16 egress::u16_whatever_name_servers_do_an_attempt_ends_in_time
D1 receivers::d1_silence_in_every_phase_is_cut_off_and_delays_nobody_else
D1 receivers::d1_places_that_hung_are_free_again
D2 receivers::d2_of_a_response_a_bounded_piece_is_read_and_nothing_unpacked
D3 receivers::d3_what_is_no_http_is_no_answer
D3 receivers::d3_a_connection_whose_framing_is_doubtful_is_not_used_again
D4 receivers::d4_a_response_cut_off_anywhere_is_none_until_its_head_is_whole
D4 receivers::d4_a_request_cut_off_anywhere_is_repeated_under_the_same_key
D4 receivers::d4_a_kept_connection_that_is_closed_as_we_write_costs_no_attempt
D4 receivers::d4_a_request_that_was_worked_on_is_repeated_by_another_attempt_alone
D5 receivers::d5_a_status_line_is_an_answer_whatever_becomes_of_the_body
D6 receivers::d6_retry_after_is_for_the_whole_destination_and_bounded fuzz::retry_after
D6 receivers::d6_a_destination_that_asks_for_time_is_left_alone
D7 receivers::d7_every_status_has_its_meaning
D8 receivers::d8_certificates_that_prove_nothing_are_refused_by_their_name
D8 outbound/tls::every_wrong_certificate_is_refused_by_its_name outbound/tls::old_versions_are_not_spoken
D9 outbound/misbehaviour::floods_end_the_connection
D9 outbound/misbehaviour::what_the_receiver_did_not_look_at_is_sent_again_at_once
D9 outbound/misbehaviour::what_ends_otherwise_is_unknown_and_tried_again_later
D9 outbound/misbehaviour::a_receiver_that_always_refuses_is_not_asked_for_ever
D10 receivers::d10_what_responses_want_remembered_is_forgotten
D11 receivers::d11_a_dead_destination_with_a_long_queue_delays_nobody_else
D12 receivers::d12_what_becomes_due_at_once_goes_at_the_rate_that_is_allowed
L1 loops::l1_a_default_install_is_for_the_machine_alone
L1 loops::l1_strangers_may_use_routes_and_nothing_else policy::who_may_name_which_url
L2 loops::l2_every_request_says_through_whom_it_came egress::u15_the_gateway_posts_never_to_itself
L2 loops::l2_mail_that_went_through_fifty_hands_goes_through_no_more
L3 loops::l3_nobody_is_told_about_reports
L4 loops::l4_l5_a_flood_of_one_tenant_is_put_off policy::a_rate_is_counted_in_posts
L4 policy::a_daily_limit_is_counted_in_posts
L5 loops::l4_l5_a_flood_of_one_tenant_is_put_off
L5 faults::a_full_disk_refuses_mail_delivers_what_is_there_and_recovers
P3 api::strangers_names_other_sites_and_own_requests_are_refused
P4 api::strangers_names_other_sites_and_own_requests_are_refused
P4 api_keys::keys_come_and_go_with_the_configuration_and_the_host_rule_with_them
P6 api_keys::who_guesses_waits_and_keeps_nobody_out_who_has_a_key
P6 api_keys::a_key_is_shown_in_one_way_and_opens_its_tenant
P6 api_keys::a_key_that_is_made_opens_what_it_says
P7 api_keys::every_call_asks_who_calls_and_shows_nobody_what_is_anothers
P7 api_keys::no_call_has_its_path_elsewhere
P7 api_keys::a_key_is_shown_in_one_way_and_opens_its_tenant
P7 api::what_cannot_be_meant_is_refused_with_a_problem
P8 api::p8_what_means_two_things_or_hides_its_size_is_refused
P8 api::p8_a_query_of_a_hundred_thousand_parameters_is_not_looked_at
P8 api::p8_of_a_body_without_end_little_is_read
P8 api::slow_clients_and_slow_answers_are_cut_off_and_too_many_wait
P10 api_keys::every_call_asks_who_calls_and_shows_nobody_what_is_anothers
P10 api::a_post_tells_everything_but_its_secrets
P9 listener::the_protocol_log_shows_the_dialogue
P9 secrets::p9_what_strangers_write_moves_no_cursor_and_forges_no_line
K1 api_keys::a_key_is_written_nowhere secrets::k1_k3_secrets_are_named_by_what_waits_and_written_nowhere
K1 secrets::k1_k3_what_a_post_is_steered_with_is_sealed_until_it_is_sent
K1 listener::the_protocol_log_shows_no_secrets webhooks::a_webhook_is_made_shown_changed_and_deleted
K1 api_config::the_file_comes_without_secrets_and_keeps_them_when_it_comes_back
K2 gateway::one_data_directory_is_for_one_process_and_for_nobody_else_to_read
K2 config::a_file_with_secrets_must_not_be_open_to_others
K2 secrets::k2_a_symbolic_link_in_the_place_of_a_file_is_not_followed
K3 secrets::k1_k3_secrets_are_named_by_what_waits_and_written_nowhere
K3 secrets::k1_k3_what_a_post_is_steered_with_is_sealed_until_it_is_sent
K3 spool/sealing::no_file_and_nobody_who_looks_sees_a_secret
K4 ../src/deliver/sign/tests::the_vectors_of_standard_webhooks
K5 secrets::k5_a_signed_id_has_no_dot_whatever_the_sender_wrote
K6 signing::every_attempt_is_signed_anew_under_the_same_id
K6 webhooks::all_are_checked_sparkpost_validates_and_secrets_are_rotated
K8 secrets::k8_what_holds_a_secret_shows_none_and_leaves_none config::secrets_are_masked
K9 secrets::k9_it_starts_no_program_and_its_unit_gives_it_no_rights
";

/// What is wrong with such a list.
fn complaints(proofs: &str) -> Vec<String> {
    proofs::complaints(proofs, proofs::rows(LAST).chain(SINGLE.iter().map(|row| (*row).to_owned())))
}

#[test]
fn every_row_has_its_test() {
    assert_eq!(complaints(PROOFS), Vec::<String>::new());
    let first = |from: &str, to: &str| complaints(&PROOFS.replace(from, to)).pop();
    assert_eq!(first("\nC11 vrfy-expn-help", "").unwrap(), "C11: nothing proves it");
    assert_eq!(first("vrfy-expn-help", "vrfy").unwrap(), "C11: vrfy is not there");
    assert_eq!(
        first("commands::a_client", "listener::a_client").unwrap(),
        "C14: listener::a_client_may_go_at_any_octet is not there"
    );
    assert_eq!(
        first("wire::handshakes", "listener::with_few_descriptors wire::handshakes").unwrap(),
        "T2: listener::with_few_descriptors is not there"
    );
    assert_eq!(first("\nM12", "\nM13 bdat\nM12").unwrap(), "M13: no such row");
}

//! The whole gateway with the real pi, old and new, and a scripted model: what a user at the page sees.
//!
//! Every scenario runs on both generations of pi: `cargo test --test e2e_pi new::plain_answer`.
#![allow(clippy::unwrap_used)] // a failed test may panic

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod answers;
mod commands;
mod delegate;
mod dialogs;
mod failures;
mod heartbeat;
mod limits;
mod midrun;
mod onboard;
mod openai;
mod recovery;
mod telegram;
mod tools;
mod world;

/// Each scenario as a test on old and on new pi.
macro_rules! on_both {
    ($($from:ident: $($name:ident),+;)+) => {
        mod old { $($(#[test] fn $name() { crate::$from::$name(false) })+)+ }
        mod new { $($(#[test] fn $name() { crate::$from::$name(true) })+)+ }
    };
}

on_both! {
    agents:
        an_agent_named_in_front_answers_in_its_own_directory_and_session,
        a_conversation_follows_its_role_into_another_directory;
    answers:
        plain_answer, the_answer_is_streamed_and_ends_as_the_reply, b10_text_before_and_after_a_tool_is_one_reply,
        a_script_that_waits_for_the_ends_of_messages_and_turns_gets_each_once,
        thinking_is_shown_and_not_sent, after_a_restart_the_history_tells_thoughts_and_tools,
        a_picture_reaches_the_model, two_sessions_in_parallel_do_not_mix,
        b5_five_chats_in_a_row_with_two_processes, b6_after_a_restart_the_conversation_is_known,
        after_new_the_model_knows_nothing;
    midrun:
        abort_keeps_what_was_said, a_message_during_a_tool_steers_the_run, a_follow_up_waits_for_the_answer,
        b7_b8_interrupts_lose_nothing, b8_new_keeps_what_waits, messages_at_every_moment_of_a_run_reach_the_model,
        a_message_in_a_retry_wait_is_answered;
    failures:
        b9_only_the_answer_after_the_retries_is_shown, after_retries_the_ends_of_message_and_turn_are_told_once,
        the_error_of_a_model_that_keeps_failing_is_told,
        another_model_takes_over_when_the_first_keeps_failing,
        b12_pi_killed_in_mid_answer_is_resumed_and_answers_once, pi_killed_during_a_tool_is_resumed_without_repeating_it,
        a_gateway_killed_in_mid_answer_answers_once, pi_that_cannot_start_says_why,
        c8_a_message_that_kills_pi_three_times_is_told_once_and_the_queue_goes_on;
    commands:
        c2_a_compaction_whose_extension_asks_about_the_session_ends_and_the_session_answers,
        compact_makes_room_and_the_talk_goes_on, model_is_changed_for_this_session_only,
        thinking_level_is_changed, models_usage_and_reload_over_the_api, a_command_of_an_extension_is_recognised_at_once;
    recovery:
        c15_pi_killed_behind_a_steer_boundary_loses_nothing,
        c15_a_gateway_killed_behind_a_steer_boundary_loses_nothing, a_steer_that_died_with_pi_is_answered,
        a_gateway_stopped_in_mid_answer_answers_once, pi_killed_while_idle_is_started_again;
    limits:
        a_context_that_is_too_long_is_compacted_and_answered,
        the_answer_does_not_wait_for_the_compaction_behind_it_and_the_next_message_does,
        a_model_that_pi_does_not_know_is_told_and_pi_s_default_answers, retry_runs_the_failed_turn_again,
        stop_in_a_retry_wait, abort_before_pi_is_ready;
    delegate:
        the_other_agent_s_answer_is_in_the_reply_on_the_page, a_refused_or_failed_delegation_is_an_error_for_the_model,
        two_agents_work_at_the_same_time_and_one_asks_another, a_task_that_takes_too_long_brings_what_was_said_until_then,
        on_telegram_the_other_agent_s_answer_arrives_in_the_reply_and_nowhere_else,
        a_gateway_killed_while_the_other_agent_works_answers_once;
    onboard:
        onboard_asks_the_model_a_question, onboard_tells_why_a_model_does_not_answer;
    openai:
        a_model_of_one_request_is_for_its_turn_only, the_tokens_of_a_request_are_told,
        a_stateless_request_streams_and_leaves_nothing;
    dialogs:
        a_tool_asks_and_the_page_answers, the_first_answer_wins_and_the_other_page_is_told,
        c37_stop_while_a_dialog_is_open, nobody_to_ask_means_cancelled;
    tools:
        tools_act_in_the_account_chat_and_topic_of_the_conversation, tools_speak_on_the_page,
        in_concise_mode_what_was_sent_is_the_answer, a_job_made_with_the_cron_tool_is_answered_where_it_was_asked_for,
        the_model_knows_its_tools_and_where_it_is, the_other_tools_work_on_the_page,
        a_job_of_the_model_outlives_a_kill_across_its_time, an_extension_with_a_tool_of_ours_goes_first;
    heartbeat:
        b14_a_heartbeat_without_news_leaves_no_trace_and_an_alert_is_in_the_next_context,
        an_agent_that_wakes_itself_is_heard_on_telegram;
    telegram:
        on_telegram_a_long_answer_grows_over_several_messages_and_its_code_is_whole,
        on_telegram_a_message_during_a_tool_steers_and_stop_ends_the_turn,
        on_telegram_a_gateway_killed_in_mid_answer_answers_once,
        on_telegram_a_stranger_is_approved_sends_a_photo_and_chooses_a_model_by_buttons;
}

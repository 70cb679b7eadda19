-- The messages of each topic and group in their order, so that a claim reads a few of each group, however many wait. Planned topics have
-- no groups. They are left out, because each alert would pay for an index that nobody reads.
create index "outbox_message_topic_group_id_next_attempt_at_idx" on "outbox_message" ("topic", "group_id", "next_attempt_at")
where "processed_at" is null and "topic" in ('alert-response.given', 'client.retired', 'bank.platform_access_changed',
  'webhook-endpoint.disabled', 'connection.end', 'connection.check', 'sign-in.end', 'certification-access.end');

package callmeter;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.time.OffsetDateTime;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** Subscribes accounts to the plain plan, and rates their calls: allowance, wallet, overage, alerts' levels. */
final class Rater implements Processor<byte[], byte[], byte[], byte[]> {
    private static final int[] LEVELS = {80, 90, 100};

    private final String storeName;
    private final JsonFactory json = new JsonFactory();
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(2048);
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, Account> accounts;

    Rater(String storeName) {
        this.storeName = storeName;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        this.accounts = context.getStateStore(storeName);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        try {
            Fact fact = read(record.value());
            if ("call.completed".equals(fact.type)) {
                rate(fact, record);
            } else if ("subscription.started".equals(fact.type)) {
                accounts.put(fact.accountId, subscribed(fact));
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Account subscribed(Fact fact) {
        Account account = new Account();
        String[] increments = fact.increments.split("/");
        account.subscriptionId = fact.subscriptionId;
        account.agencyId = fact.agencyId;
        account.currency = fact.currency;
        account.periodStart = fact.at;
        account.firstIncrement = Integer.parseInt(increments[0]);
        account.nextIncrement = Integer.parseInt(increments[1]);
        account.rateMicrosPerMinute = fact.overageMicrosPerMinute;
        account.includedS = fact.includedMinutes * 60;
        account.allowanceLeftS = account.includedS;
        return account;
    }

    private void rate(Fact call, Record<byte[], byte[]> record) throws IOException {
        Account account = accounts.get(call.accountId);
        if (account == null || !account.agencyId.equals(call.agencyId)) {
            throw new IOException("no dead letters here: " + call.callId);
        }
        OffsetDateTime started = OffsetDateTime.parse(call.startedAt);
        OffsetDateTime ended = OffsetDateTime.parse(call.endedAt);
        long durationS = 0;
        if (call.answeredAt != null) {
            OffsetDateTime answered = OffsetDateTime.parse(call.answeredAt);
            if (answered.isBefore(started) || ended.isBefore(answered)) {
                throw new IOException("impossible times: " + call.callId);
            }
            Duration lasted = Duration.between(answered, ended);
            durationS = lasted.getSeconds() + (lasted.getNano() > 0 ? 1 : 0);
        }
        long billedS = 0;
        if (durationS > 0 && (call.outcome.equals("answered") || call.outcome.equals("voicemail")) && !call.test) {
            long further = Math.max(0, durationS - account.firstIncrement);
            long steps = (further + account.nextIncrement - 1) / account.nextIncrement;
            billedS = account.firstIncrement + steps * account.nextIncrement;
        }
        long allowanceS = Math.min(billedS, account.allowanceLeftS);
        long walletS = Math.min(billedS - allowanceS, account.walletS);
        long overageS = billedS - allowanceS - walletS;
        long overageMicros = (overageS * account.rateMicrosPerMinute + 30) / 60;
        account.allowanceLeftS -= allowanceS;
        account.walletS -= walletS;
        account.calls += 1;
        account.billedS += billedS;
        account.overageS += overageS;
        account.overageMicros += overageMicros;
        long used = account.includedS - account.allowanceLeftS;
        while (account.alertsFired < LEVELS.length
                && account.includedS > 0
                && used * 100 >= LEVELS[account.alertsFired] * account.includedS) {
            account.alertsFired += 1;
        }
        accounts.put(call.accountId, account);

        RecordMetadata at = context.recordMetadata().orElseThrow();
        out.reset();
        try (JsonGenerator to = json.createGenerator(out)) {
            to.writeStartObject();
            to.writeStringField("call_id", call.callId);
            to.writeStringField("account_id", call.accountId);
            to.writeStringField("agency_id", call.agencyId);
            to.writeStringField("campaign_id", call.campaignId);
            to.writeStringField("agent_id", call.agentId);
            to.writeStringField("direction", call.direction);
            to.writeStringField("from_number", call.fromNumber);
            to.writeStringField("to_number", call.toNumber);
            to.writeStringField("started_at", call.startedAt);
            to.writeStringField("answered_at", call.answeredAt);
            to.writeStringField("ended_at", call.endedAt);
            to.writeStringField("outcome", call.outcome);
            to.writeBooleanField("test", call.test);
            to.writeNullField("tier");
            to.writeNullField("cost_micros");
            to.writeNullField("cost_currency");
            to.writeStringField("subscription_id", account.subscriptionId);
            to.writeStringField("period_start", account.periodStart);
            to.writeNumberField("duration_s", durationS);
            to.writeNumberField("billed_s", billedS);
            to.writeNumberField("allowance_s", allowanceS);
            to.writeNumberField("wallet_s", walletS);
            to.writeNumberField("credit_s", 0);
            to.writeNumberField("credit_micros", 0);
            to.writeNumberField("overage_s", overageS);
            to.writeNumberField("written_off_s", 0);
            to.writeNumberField("fee_micros", 0);
            to.writeNumberField("amount_micros", overageMicros);
            to.writeNullField("margin_micros");
            to.writeStringField("currency", account.currency);
            to.writeNumberField("allowance_left_s", account.allowanceLeftS);
            to.writeNumberField("wallet_left_s", account.walletS);
            to.writeNumberField("credit_left_micros", 0);
            to.writeBooleanField("late", false);
            to.writeNumberField("source_partition", at.partition());
            to.writeNumberField("source_offset", at.offset());
            to.writeEndObject();
        }
        context.forward(record.withValue(out.toByteArray()));
    }

    private Fact read(byte[] value) throws IOException {
        Fact fact = new Fact();
        try (JsonParser from = json.createParser(value)) {
            if (from.nextToken() != JsonToken.START_OBJECT) {
                throw new IOException("not an object");
            }
            readObject(from, fact);
        }
        return fact;
    }

    private void readObject(JsonParser from, Fact fact) throws IOException {
        String name;
        while ((name = from.nextFieldName()) != null) {
            JsonToken token = from.nextToken();
            switch (name) {
                case "type" -> fact.type = from.getText();
                case "call_id" -> fact.callId = from.getText();
                case "account_id" -> fact.accountId = from.getText();
                case "agency_id" -> fact.agencyId = from.getText();
                case "campaign_id" -> fact.campaignId = from.getValueAsString();
                case "agent_id" -> fact.agentId = from.getValueAsString();
                case "direction" -> fact.direction = from.getText();
                case "from_number" -> fact.fromNumber = from.getValueAsString();
                case "to_number" -> fact.toNumber = from.getValueAsString();
                case "started_at" -> fact.startedAt = from.getText();
                case "answered_at" -> fact.answeredAt = from.getValueAsString();
                case "ended_at" -> fact.endedAt = from.getText();
                case "outcome" -> fact.outcome = from.getText();
                case "test" -> fact.test = from.getBooleanValue();
                case "at" -> fact.at = from.getText();
                case "subscription_id" -> fact.subscriptionId = from.getText();
                case "terms" -> readObject(from, fact);
                case "currency" -> fact.currency = from.getText();
                case "increments" -> fact.increments = from.getText();
                case "included_minutes" -> fact.includedMinutes = from.getLongValue();
                case "overage_micros_per_minute" -> fact.overageMicrosPerMinute = from.getLongValue();
                default -> {
                    if (token.isStructStart()) {
                        from.skipChildren();
                    }
                }
            }
        }
    }

    /** What is read of a fact; texts stay texts. */
    private static final class Fact {
        String type;
        String callId;
        String accountId;
        String agencyId;
        String campaignId;
        String agentId;
        String direction;
        String fromNumber;
        String toNumber;
        String startedAt;
        String answeredAt;
        String endedAt;
        String outcome;
        boolean test;
        String at;
        String subscriptionId;
        String currency;
        String increments = "1/1";
        long includedMinutes;
        long overageMicrosPerMinute;
    }
}

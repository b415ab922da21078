package callmeter;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Accounts as bytes: numbers of fixed width, then the texts. */
final class AccountBytes {
    private static final int NUMBERS = 3 * Integer.BYTES + 8 * Long.BYTES;

    private AccountBytes() {}

    static Serde<Account> serde() {
        return Serdes.serdeFrom((topic, account) -> bytesOf(account), (topic, value) -> value == null ? null : accountOf(value));
    }

    private static byte[] bytesOf(Account account) {
        byte[][] texts = {
            bytes(account.subscriptionId), bytes(account.agencyId), bytes(account.currency), bytes(account.periodStart)
        };
        int size = NUMBERS;
        for (byte[] text : texts) {
            size += Short.BYTES + text.length;
        }
        ByteBuffer to = ByteBuffer.allocate(size);
        to.putInt(account.firstIncrement).putInt(account.nextIncrement).putInt(account.alertsFired);
        to.putLong(account.rateMicrosPerMinute).putLong(account.includedS).putLong(account.allowanceLeftS);
        to.putLong(account.walletS).putLong(account.calls).putLong(account.billedS);
        to.putLong(account.overageS).putLong(account.overageMicros);
        for (byte[] text : texts) {
            to.putShort((short) text.length).put(text);
        }
        return to.array();
    }

    private static Account accountOf(byte[] value) {
        ByteBuffer from = ByteBuffer.wrap(value);
        Account account = new Account();
        account.firstIncrement = from.getInt();
        account.nextIncrement = from.getInt();
        account.alertsFired = from.getInt();
        account.rateMicrosPerMinute = from.getLong();
        account.includedS = from.getLong();
        account.allowanceLeftS = from.getLong();
        account.walletS = from.getLong();
        account.calls = from.getLong();
        account.billedS = from.getLong();
        account.overageS = from.getLong();
        account.overageMicros = from.getLong();
        account.subscriptionId = text(from);
        account.agencyId = text(from);
        account.currency = text(from);
        account.periodStart = text(from);
        return account;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(ByteBuffer from) {
        byte[] text = new byte[from.getShort()];
        from.get(text);
        return new String(text, StandardCharsets.UTF_8);
    }
}

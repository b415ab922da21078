package callmeter;

/** An account on the plain plan: its terms, and the counters of its period. Seconds and micros. */
final class Account {
    String subscriptionId;
    String agencyId;
    String currency;
    String periodStart;
    int firstIncrement;
    int nextIncrement;
    long rateMicrosPerMinute;
    long includedS;
    long allowanceLeftS;
    long walletS;
    long calls;
    long billedS;
    long overageS;
    long overageMicros;
    int alertsFired;
}

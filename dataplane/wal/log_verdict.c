/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_recovery.h"

enum hg_log_verdict hg_log_recovery_verdict(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                            bool is_beyond)
{
    /* Rows: what lies there, what the ring has; columns: n <= D, n > D. A copy in the ring proves n <= D, so
     * its right column cannot come up; it says the same as the left one. */
    static const enum hg_log_verdict table[HG_LOG_FOUND_COUNT][HG_LOG_COPY_COUNT][2] = {
        [HG_LOG_FOUND_CHAINED] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT},
                                  [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT},
                                  [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT}},
        [HG_LOG_FOUND_UNCHAINED] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK},
                                    [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK},
                                    [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK}},
        [HG_LOG_FOUND_STALE] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_END},
                                [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_CORRUPT},
                                [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT_COPY,
                                                      HG_LOG_VERDICT_PRESENT_COPY}},
        [HG_LOG_FOUND_BAD] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_TORN},
                              [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_CORRUPT},
                              [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT_COPY,
                                                    HG_LOG_VERDICT_PRESENT_COPY}},
    };
    hg_assert((uint32_t)write < HG_LOG_FOUND_COUNT && (uint32_t)copy < HG_LOG_COPY_COUNT);
    return table[write][copy][is_beyond];
}

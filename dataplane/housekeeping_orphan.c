/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in cutting a stream: a worker lends it pieces of an orphan file, one at a time.
 */
#include "dataplane/housekeeping.h"
#include "dataplane/orphan_file.h"

static void answer(struct hg_housekeeping *hk, uint32_t worker)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_ORPHAN_DONE;
    letter.code = hk->orphans[worker].code;
    hk->orphans[worker].used = !hg_housekeeping_put(hk, worker, &letter);
}

void hg_housekeeping_orphan_letter(struct hg_housekeeping *hk, uint32_t worker,
                                   const struct hg_letter *letter)
{
    hg_assert(!hk->orphans[worker].used); /* it lends one piece */
    hk->orphans[worker].code = hg_orphan_file_write(hk->node->run_dir, letter->pointer);
    answer(hk, worker);
}

void hg_housekeeping_orphan_tick(struct hg_housekeeping *hk)
{
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        if (hk->orphans[i].used)
            answer(hk, i);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing orphan files, piece by piece (dataplane/stream/cut.h). Blocks: housekeeping only.
 */
#ifndef HG_ORPHAN_FILE_H
#define HG_ORPHAN_FILE_H

#include "dataplane/stream/cut.h"

#define HG_ORPHAN_DIRECTORY "orphan" /* in the run directory */

/* Writes a piece into <run_dir>/orphan, which it makes, or notes beside a file that its cut is recorded. The
 * last one is on the device, under its name, when it returns. 0 or -errno; -EXDEV where a link stands in the
 * place of the directory or of the file. */
int hg_orphan_file_write(const char *run_dir, const struct hg_orphan_piece *piece);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/platform/platform.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void hg_assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "%s:%d: invariant broken: %s (the process stops so that nothing wrong is acknowledged)\n",
            file, line, expression);
    abort();
}

/* sha256_file.h - the SHA-256 of a file, by which a result names its inputs. */
#ifndef CBE_IO_SHA256_FILE_H
#define CBE_IO_SHA256_FILE_H

#include "cbe/status.h"

enum { CBE_SHA256_TEXT = 65 }; /* 64 hexadecimal digits and a 0 */

cbe_status cbe_sha256_file(const char *path, char digest[CBE_SHA256_TEXT], cbe_error *err);

#endif

/* The door to FFmpeg: a shared object of its own, libls_pictures.so, loaded when a picture is to be read. libavcodec
 * brings some forty libraries, which a training run would pay for at every start (60 ms and 16 MB a rank) and which a
 * cluster's nodes need not have. Nothing of lockstep is linked into it, so what it says comes back as text. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int width, height; /* upright: Exif's orientation is followed */
    uint8_t *rgba;     /* [height, width, 4], alpha 255: opaque; to be freed with free() */
} ls_decoded_picture;

typedef enum {
    LS_DECODE_GOOD,
    LS_DECODE_FOREIGN, /* not a picture, or of a kind that is not read */
    LS_DECODE_DAMAGED,
    LS_DECODE_NO_MEMORY,
} ls_decode_result;

/* Decodes a whole PNG or JPEG file, told by its first bytes, on the calling thread, to the same pixels on every
 * processor. Else `why` (why_bytes >= 1) says what is wrong with it; FFmpeg's own messages end there and are printed
 * nowhere. Any damage that the format or FFmpeg can tell is refused, never painted over. */
ls_decode_result ls_picture_decode(const uint8_t *bytes, size_t size, ls_decoded_picture *picture, char *why,
                                   size_t why_bytes);
typedef ls_decode_result (*ls_picture_decode_function)(const uint8_t *, size_t, ls_decoded_picture *, char *, size_t);
#define LS_PICTURE_MODULE "libls_pictures.so"
#define LS_PICTURE_DECODE "ls_picture_decode"

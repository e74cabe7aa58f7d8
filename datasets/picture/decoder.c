/* See decoder.h. Decoders are chosen here by the file's first bytes and never by FFmpeg's demuxers: a file that calls
 * itself a picture cannot be taken for a playlist, which would open other files. */
#include "datasets/picture/decoder.h"
#include "datasets/picture/container.h"
#include "datasets/picture/ycc.h"

#include <libavcodec/avcodec.h>
#include <libavutil/pixdesc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PIXELS = 1 << 27 /* 134 million: a small file can claim any size */ };

/* ---- what FFmpeg says ---- */

static _Thread_local char said[160]; /* the first error since forget() */

static void forget(void)
{
    said[0] = '\0';
}

static void listen(void *context, int level, const char *format, va_list arguments)
{
    (void)context;
    if (level > AV_LOG_ERROR || said[0])
        return;
    vsnprintf(said, sizeof said, format, arguments);
    for (char *c = said; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = *c == '\n' && !c[1] ? '\0' : ' ';
    for (size_t length = strlen(said); length && said[length - 1] == ' ';)
        said[--length] = '\0';
}

/* ---- from a frame of any kind to RGBA ---- */

/* Takes rgba [height, width, 4] over, upright where it is not. */
static ls_decode_result turn(int orientation, int width, int height, uint8_t *rgba, ls_decoded_picture *to)
{
    const bool turned = orientation >= 5; /* width and height change places */
    *to = (ls_decoded_picture){.width = turned ? height : width, .height = turned ? width : height, .rgba = rgba};
    if (orientation == 1)
        return LS_DECODE_GOOD;
    uint8_t *out = to->rgba = malloc((size_t)width * (size_t)height * 4);
    for (int y = 0; y < to->height && to->rgba; y++)
        for (int x = 0; x < to->width; x++, out += 4) {
            int from_x, from_y;
            ls_orientation_source(orientation, width, height, x, y, &from_x, &from_y);
            memcpy(out, rgba + ((size_t)from_y * (size_t)width + (size_t)from_x) * 4, 4);
        }
    free(rgba);
    return to->rgba ? LS_DECODE_GOOD : LS_DECODE_NO_MEMORY;
}

/* One component of a line, 0 .. 255 whatever its depth, to every fourth byte. */
static void read_component(const AVFrame *frame, const AVPixFmtDescriptor *about, int y, int component, uint16_t *line,
                           uint8_t *out)
{
    const uint32_t most = (1u << about->comp[component].depth) - 1;
    av_read_image_line2(line, (const uint8_t **)(void *)frame->data, frame->linesize, about, 0, y, component,
                        frame->width, 0, sizeof *line);
    for (int x = 0; x < frame->width; x++)
        out[4 * x] = (uint8_t)(((uint32_t)line[x] * 255 + most / 2) / most);
}

/* Grey, RGB, with and without alpha, of 1 to 16 bits: components as they are. */
static void read_components(const AVFrame *frame, const AVPixFmtDescriptor *about, uint16_t *line, uint8_t *rgba)
{
    const bool grey = about->nb_components < 3, alpha = about->flags & AV_PIX_FMT_FLAG_ALPHA;
    for (int y = 0; y < frame->height; y++, rgba += 4 * (size_t)frame->width) {
        for (int i = 0; i < 3; i++)
            read_component(frame, about, y, grey ? 0 : i, line, rgba + i);
        if (alpha)
            read_component(frame, about, y, about->nb_components - 1, line, rgba + 3);
        for (int x = 0; x < frame->width && !alpha; x++)
            rgba[4 * x + 3] = 255;
    }
}

static void read_palette(const AVFrame *frame, uint8_t *rgba)
{
    const uint8_t *palette = frame->data[1];
    for (int y = 0; y < frame->height; y++)
        for (int x = 0; x < frame->width; x++, rgba += 4) {
            uint32_t argb;
            memcpy(&argb, palette + 4 * (size_t)frame->data[0][(ptrdiff_t)y * frame->linesize[0] + x], sizeof argb);
            rgba[0] = (uint8_t)(argb >> 16);
            rgba[1] = (uint8_t)(argb >> 8);
            rgba[2] = (uint8_t)argb;
            rgba[3] = (uint8_t)(argb >> 24);
        }
}

/* False: stored in another way than JPEG does. */
static bool read_ycc(const AVFrame *frame, const AVPixFmtDescriptor *about, uint8_t *rgba)
{
    const bool bytes =
        about->nb_components >= 3 && (about->flags & AV_PIX_FMT_FLAG_PLANAR) && about->comp[0].depth == 8;
    if (!bytes)
        return false;
    const ls_ycc ycc = {.width = frame->width,
                        .height = frame->height,
                        .shift_x = about->log2_chroma_w,
                        .shift_y = about->log2_chroma_h,
                        .plane = {frame->data[0], frame->data[1], frame->data[2]},
                        .stride = {frame->linesize[0], frame->linesize[1], frame->linesize[2]}};
    ls_ycc_to_rgba(&ycc, rgba);
    return true;
}

static ls_decode_result read_frame(const AVFrame *frame, int orientation, ls_decoded_picture *picture)
{
    const AVPixFmtDescriptor *about = av_pix_fmt_desc_get(frame->format);
    uint8_t *rgba = malloc((size_t)frame->width * (size_t)frame->height * 4);
    uint16_t *line = malloc((size_t)frame->width * sizeof *line);
    ls_decode_result result = about && rgba && line ? LS_DECODE_GOOD : LS_DECODE_NO_MEMORY;
    if (result == LS_DECODE_GOOD) {
        if (about->flags & AV_PIX_FMT_FLAG_PAL)
            read_palette(frame, rgba);
        else if (about->nb_components < 3 || (about->flags & AV_PIX_FMT_FLAG_RGB))
            read_components(frame, about, line, rgba);
        else if (!read_ycc(frame, about, rgba))
            result = LS_DECODE_FOREIGN;
    }
    free(line);
    if (result == LS_DECODE_GOOD)
        return turn(orientation, frame->width, frame->height, rgba, picture);
    free(rgba);
    return result;
}

/* ---- decoding ---- */

/* FF_IDCT_INT is plain C, the same on every processor, and the transform of the IJG's library. */
static AVCodecContext *open_decoder(ls_container kind)
{
    const AVCodec *codec = avcodec_find_decoder(kind == LS_CONTAINER_PNG ? AV_CODEC_ID_PNG : AV_CODEC_ID_MJPEG);
    AVCodecContext *context = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!context)
        return NULL;
    context->thread_count = 1;
    context->flags |= AV_CODEC_FLAG_BITEXACT;
    context->idct_algo = FF_IDCT_INT;
    context->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
    context->max_pixels = MOST_PIXELS;
    if (avcodec_open2(context, codec, NULL) < 0)
        avcodec_free_context(&context);
    return context;
}

static ls_decode_result decode(ls_container kind, const AVPacket *packet, int orientation, ls_decoded_picture *picture)
{
    AVCodecContext *context = open_decoder(kind);
    AVFrame *frame = av_frame_alloc();
    ls_decode_result result = context && frame ? LS_DECODE_GOOD : LS_DECODE_NO_MEMORY;
    if (result == LS_DECODE_GOOD) {
        const bool sent = avcodec_send_packet(context, packet) >= 0 && avcodec_send_packet(context, NULL) >= 0;
        if (!sent || avcodec_receive_frame(context, frame) < 0 || said[0] || frame->width < 1 || frame->height < 1)
            result = LS_DECODE_DAMAGED;
    }
    if (result == LS_DECODE_GOOD)
        result = read_frame(frame, orientation, picture);
    av_frame_free(&frame);
    avcodec_free_context(&context);
    return result;
}

static ls_decode_result say_foreign(const uint8_t *bytes, size_t size, const char *name, char *why, size_t why_bytes)
{
    if (size == 0)
        snprintf(why, why_bytes, "an empty file");
    else if (name)
        snprintf(why, why_bytes, "this is %s; PNG and JPEG are read, convert it", name);
    else
        snprintf(why, why_bytes, "not a picture: it begins with 0x%02x%02x, neither PNG nor JPEG", bytes[0],
                 size > 1 ? bytes[1] : 0);
    return LS_DECODE_FOREIGN;
}

ls_decode_result ls_picture_decode(const uint8_t *bytes, size_t size, ls_decoded_picture *picture, char *why,
                                   size_t why_bytes)
{
    const char *name;
    const ls_container kind = ls_container_of(bytes, size, &name);
    *picture = (ls_decoded_picture){0};
    why[0] = '\0';
    if (kind == LS_CONTAINER_UNKNOWN)
        return say_foreign(bytes, size, name, why, why_bytes);
    AVPacket *packet = av_packet_alloc();
    if (!packet || size > INT32_MAX - AV_INPUT_BUFFER_PADDING_SIZE || av_new_packet(packet, (int)size) < 0) {
        av_packet_free(&packet);
        return LS_DECODE_NO_MEMORY;
    }
    size_t kept;
    int orientation;
    ls_decode_result result = LS_DECODE_DAMAGED;
    const ls_strip strip = ls_container_strip(kind, bytes, size, packet->data, &kept, &orientation);
    if (strip == LS_STRIP_CUT) {
        snprintf(why, why_bytes, "cut off: its end is missing behind byte %zu", size);
    } else if (strip == LS_STRIP_DAMAGED) {
        snprintf(why, why_bytes, "damaged: a part of it does not have the sum it was written with");
    } else {
        av_shrink_packet(packet, (int)kept);
        av_log_set_callback(listen);
        forget();
        result = decode(kind, packet, orientation, picture);
        if (result == LS_DECODE_DAMAGED)
            snprintf(why, why_bytes, "damaged%s%s", said[0] ? ": " : "", said);
        if (result == LS_DECODE_FOREIGN)
            snprintf(why, why_bytes, "of a kind of pixels that is not read; convert it");
    }
    av_packet_free(&packet);
    return result;
}

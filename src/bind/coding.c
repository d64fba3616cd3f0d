/*
 * coding: the class decoder, for lua/weft/http: content codings undone piece by piece.
 * Uservalue 1 keeps the string that is being decoded. And the class encoder, for servers.
 */
#include "core/coding.h"

#include "bind/state.h"

#define PULL_BYTES (64u << 10)

typedef struct wf_decoder {
    const void *class;
    wf_coding coding;
    const uint8_t *p; /* into uservalue 1 */
    size_t left;
} wf_decoder;

/* [-0, +0, raises] */
static wf_decoder *decoder_of(lua_State *L)
{
    return wf_class_check(L, 1, WF_CLASS_DECODER);
}

/* decoder("gzip"|"deflate", max_ratio) */
static int l_decoder(lua_State *L)
{
    static const char *const kinds[] = { "gzip", "deflate", NULL };
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    lua_Integer ratio = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ratio >= 1 && ratio <= 1 << 20, 2, "max_ratio: 1 to 2^20");
    wf_decoder *d = wf_class_push(L, WF_CLASS_DECODER, sizeof *d, 1);
    wf_coding_init(&d->coding, (wf_coding_kind)kind, (unsigned)ratio);
    return 1;
}

/* push(data): what was pushed before must have been pulled out */
static int decoder_push(lua_State *L)
{
    wf_decoder *d = decoder_of(L);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    luaL_argcheck(L, d->left == 0, 1, "its input is not used up");
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, 1);
    d->p = (const uint8_t *)data;
    d->left = n;
    return 0;
}

/* [-0, +3, m] */
static int fail_coding(lua_State *L, const wf_decoder *d, long why)
{
    if (why == WF_CODING_NOMEM)
        return wf_fail(L, WF_NOMEM, NULL);
    if (why == WF_CODING_MALFORMED)
        return wf_fail(L, WF_PROTOCOL, "the content is not what its coding says");
    return wf_fail(L, WF_TOO_BIG,
                   "the content inflates to more than %d times its size (max_ratio)",
                   (int)d->coding.ratio);
}

/* pull(max) -> data, "" when more has to be pushed | nil, message, code */
static int decoder_pull(lua_State *L)
{
    wf_decoder *d = decoder_of(L);
    size_t room = (size_t)luaL_optinteger(L, 2, PULL_BYTES);
    luaL_argcheck(L, room >= 1 && room <= PULL_BYTES, 2, "1 to 65536 bytes");
    luaL_Buffer b;
    uint8_t *out = (uint8_t *)luaL_buffinitsize(L, &b, room);
    long made = wf_coding_decode(&d->coding, &d->p, &d->left, out, room);
    if (made < 0)
        return fail_coding(L, d, made);
    luaL_pushresultsize(&b, (size_t)made);
    return 1;
}

/* complete() -> may the content end here? */
static int decoder_complete(lua_State *L)
{
    lua_pushboolean(L, wf_coding_complete(&decoder_of(L)->coding));
    return 1;
}

static int decoder_gc(lua_State *L)
{
    wf_coding_free(&decoder_of(L)->coding);
    return 0;
}

static const luaL_Reg meta[] = { { "__gc", decoder_gc }, { NULL, NULL } };

static const luaL_Reg methods[] = {
    { "push", decoder_push },
    { "pull", decoder_pull },
    { "complete", decoder_complete },
    { NULL, NULL },
};

/* -- encoding --------------------------------------------------------------------- */

typedef struct wf_encoder {
    const void *class;
    wf_gzip gzip;
} wf_encoder;

/* encoder(level): gzip */
static int l_encoder(lua_State *L)
{
    lua_Integer level = luaL_checkinteger(L, 1);
    luaL_argcheck(L, level >= 1 && level <= 9, 1, "1 to 9");
    wf_encoder *e = wf_class_push(L, WF_CLASS_ENCODER, sizeof *e, 0);
    if (!wf_gzip_init(&e->gzip, (int)level))
        return luaL_error(L, "not enough memory");
    return 1;
}

/* push(data, "more"|"flush"|"finish") -> what came out of it */
static int encoder_push(lua_State *L)
{
    static const char *const ends[] = { "more", "flush", "finish", NULL };
    wf_encoder *e = wf_class_check(L, 1, WF_CLASS_ENCODER);
    size_t n, made;
    const char *data = luaL_checklstring(L, 2, &n);
    wf_gzip_end end = (wf_gzip_end)luaL_checkoption(L, 3, "more", ends);
    luaL_argcheck(L, n <= UINT32_MAX, 2, "too long");
    lua_settop(L, 2);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    wf_gzip_give(&e->gzip, (const uint8_t *)data, n);
    do {
        uint8_t *out = (uint8_t *)luaL_prepbuffer(&b);
        made = wf_gzip_take(&e->gzip, end, out, LUAL_BUFFERSIZE);
        luaL_addsize(&b, made);
    } while (made == LUAL_BUFFERSIZE);
    luaL_pushresult(&b);
    return 1;
}

static int encoder_gc(lua_State *L)
{
    wf_encoder *e = wf_class_check(L, 1, WF_CLASS_ENCODER);
    wf_gzip_free(&e->gzip);
    return 0;
}

static const luaL_Reg encoder_meta[] = { { "__gc", encoder_gc }, { NULL, NULL } };

static const luaL_Reg encoder_methods[] = { { "push", encoder_push }, { NULL, NULL } };

static const luaL_Reg functions[] = {
    { "decoder", l_decoder },
    { "encoder", l_encoder },
    { NULL, NULL },
};

void wf_open_coding(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_DECODER, meta, methods);
    wf_class_new(L, module, WF_CLASS_ENCODER, encoder_meta, encoder_methods);
    wf_set_functions(L, module, functions);
}

/*
 * tls_text: see tls.h. OpenSSL's failures as sentences that say which and for whom.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/tls_private.h"

#define NAMES 200   /* bytes of a certificate's names in a message */
#define ALERTS 1000 /* OpenSSL's reasons for received alerts begin here */

const char *wf_tls_error_text(int err)
{
    unsigned long code = (unsigned)err;
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return "the peer cut the TLS connection off without close_notify: what came may "
               "be truncated";
    const char *text = ERR_reason_error_string(code);
    return text ? text : "TLS failed";
}

static const char *certificate_fault(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate is not valid yet";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "its certificate is self-signed";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "its certificate is signed by an unknown CA";
    case X509_V_ERR_CERT_REVOKED:
        return "its certificate is revoked";
    default:
        return NULL;
    }
}

static size_t add_name(char *to, size_t at, size_t room, const char *name)
{
    int n = snprintf(to + at, room - at, "%s%s", at ? ", " : "", name);
    return n > 0 && (size_t)n < room - at ? at + (size_t)n : at;
}

/* Bytes of the certificate that may be shown: printable ones. */
static bool printable(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (name[i] < 33 || name[i] > 126)
            return false;
    return n > 0 && n < NAMES;
}

/* The DNS names that a certificate is for, as far as there is room. */
static void list_names(X509 *cert, char names[NAMES])
{
    GENERAL_NAMES *list = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;
    names[0] = '\0';
    for (int i = 0; list && i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type != GEN_DNS)
            continue;
        const char *p = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        if (printable(p, (size_t)ASN1_STRING_length(name->d.dNSName)))
            at = add_name(names, at, NAMES, p);
    }
    GENERAL_NAMES_free(list);
    names[at] = '\0';
}

/* malloc and snprintf in one; NULL: no memory. */
static char *sentence(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *sentence(const char *format, ...)
{
    char text[WF_TLS_WHY];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return strdup(text);
}

static bool is_mismatch(long result)
{
    return result == X509_V_ERR_HOSTNAME_MISMATCH ||
           result == X509_V_ERR_IP_ADDRESS_MISMATCH;
}

int wf_tls_verified(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    wf_tls *t = ssl ? SSL_get_app_data(ssl) : NULL;
    X509 *cert = X509_STORE_CTX_get0_cert(store);
    if (!ok && t && cert && !t->shown && is_mismatch(X509_STORE_CTX_get_error(store))) {
        char names[NAMES];
        list_names(cert, names);
        t->shown = strdup(names);
    }
    return ok;
}

static char *describe_certificate(const char *whom, const wf_tls *t, long result)
{
    const char *fault = certificate_fault(result);
    const char *names = t->shown ? t->shown : "";
    if (is_mismatch(result))
        return sentence("TLS with %s: its certificate is for another host%s%s%s", whom,
                        names[0] ? " (" : "", names, names[0] ? ")" : "");
    return sentence("TLS with %s: %s", whom,
                    fault ? fault : X509_verify_cert_error_string(result));
}

/* The reasons that have a plainer sentence than OpenSSL's. */
static const char *plain_reason(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "the peer sent plain text, not TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "the peer's version of TLS is too old, or ours is for it";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the peer showed no certificate";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the peer asks for a client certificate";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher in common";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return "the peer hung up during the handshake";
    default:
        return NULL;
    }
}

static char *describe_reason(const char *whom, unsigned long failure)
{
    int reason = ERR_GET_REASON(failure);
    const char *text = plain_reason(reason);
    if (text)
        return sentence("TLS with %s: %s", whom, text);
    if (ERR_GET_LIB(failure) == ERR_LIB_SSL && reason > ALERTS)
        return sentence("TLS with %s: the peer refused: %s", whom,
                        SSL_alert_desc_string_long(reason - ALERTS));
    text = ERR_reason_error_string(failure);
    return sentence("TLS with %s: %s", whom, text ? text : "the handshake failed");
}

char *wf_tls_describe(const wf_tls *tls, unsigned long failure)
{
    char ip[WF_IP_MAX];
    const char *whom = tls->name;
    if (!whom) {
        wf_peer_text(&tls->stream->peer, ip);
        whom = ip[0] ? ip : "the peer";
    }
    long result = SSL_get_verify_result(tls->ssl);
    bool verifying = SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE;
    if (failure == 0)
        return sentence("TLS with %s: the peer hung up during the handshake%s%s", whom,
                        tls->err ? ": " : "", tls->err ? strerror(tls->err) : "");
    if (verifying && result != X509_V_OK &&
        ERR_GET_REASON(failure) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return describe_certificate(whom, tls, result);
    return describe_reason(whom, failure);
}

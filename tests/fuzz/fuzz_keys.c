/* What container hosts, instances and credential processes answer: JSON with keys in it. The first byte says which of
 * them it is. What is taken for keys must be fit for a header; what isn't must be explained. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "credentials/container.h"
#include "credentials/http.h"
#include "tokenfs/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

/* Nothing that would end a header line, or the text of one. */
static bool is_sendable(const char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text <= 0x20 || *text == 0x7f)
                        return false;
        return true;
}

static void check_found(const AwsKeys *found)
{
        const Secret *secrets[] = {&found->secret_access_key, &found->session_token};
        require(*found->access_key_id && is_sendable(found->access_key_id));
        require(found->secret_access_key.len > 0);
        for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
                require(!secrets[i]->data || strlen(secrets[i]->data) == secrets[i]->len);
        require(!found->session_token.data || is_sendable(found->session_token.data));
}

static void check_failed(ProviderRun *run)
{
        const char *text = buf_str(&run->detail);
        require(*text && run->detail.len <= PROVIDER_DETAIL_MAX && strlen(text) == run->detail.len);
        for (; *text; text++)
                require((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void read_keys(const char *text, size_t len, bool is_process)
{
        ProviderRun run = {
                .provider = is_process ? &provider_process : &provider_container,
                .profile = "default",
                .error = CREDENTIALS_E_NONE,
                .detail = BUF_INIT(PROVIDER_DETAIL_MAX),
        };
        CLEANUP(json_free_p) cJSON *json = NULL;
        if (json_parse(text, len, 8, &json) == 0) {
                require(provider_found_json(&run, "the answer", json, is_process ? "SessionToken" : "Token",
                                !is_process) == 0);
                require(run.error != CREDENTIALS_E_NONE);
                if (run.error == CREDENTIALS_OK)
                        check_found(&run.credentials.keys);
                else
                        check_failed(&run);
        }
        aws_credentials_deinit(&run.credentials);
        buf_deinit(&run.detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0 || size > PROVIDER_ANSWER_MAX)
                return 0;
        char *text = malloc(size);
        require(text);
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        read_keys(text, size - 1, data[0] & 1);
        (void)container_url_is_allowed(text);
        free(text);
        return 0;
}

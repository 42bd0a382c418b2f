"""The two purposes that the package keeps records for itself, whatever a policy declares, in the languages it has."""

from __future__ import annotations

from typing import Final

from consent_mw.policy.model import RECEIPTS, RECEIPTS_KEPT, REQUESTS, REQUESTS_KEPT, Purpose, Text

# English stands first: it serves the readers of a language that is not here.
#: Proof of consent is owed whether or not the policy thinks of it (GDPR, article 7(1)). No law says
#: for how long, so none is claimed: a policy that knows one declares the purpose with its own basis.
_PROOF = Purpose(
    name=RECEIPTS,
    basis="legitimate_interest",
    title=Text(
        {
            "en": "Proof of your choice",
            "ko": "동의 기록",
            "ar": "إثبات اختيارك",
            "de": "Nachweis Ihrer Auswahl",
            "es": "Prueba de su elección",
            "fr": "Preuve de votre choix",
            "ja": "選択の記録",
            "pt-BR": "Prova da sua escolha",
            "vi": "Bằng chứng về lựa chọn của bạn",
            "zh-Hans": "您的选择的证明",
            "zh-Hant": "您的選擇的證明",
        }
    ),
    description=Text(
        {
            "en": "Kept to prove what was asked and what you answered.",
            "ko": "무엇을 물었고 어떻게 답했는지 증명하기 위해 보관합니다.",
            "ar": "يُحفظ لإثبات ما سُئلت عنه وما أجبت به.",
            "de": "Wird aufbewahrt, um zu belegen, was gefragt wurde und was Sie geantwortet haben.",
            "es": "Se conserva para probar qué se le preguntó y qué respondió.",
            "fr": "Conservée pour prouver ce qui a été demandé et ce que vous avez répondu.",
            "ja": "何を尋ね、どのように答えたかを証明するために保管します。",
            "pt-BR": "Guardada para provar o que foi perguntado e o que você respondeu.",
            "vi": "Được lưu để chứng minh đã hỏi gì và bạn đã trả lời thế nào.",
            "zh-Hans": "为证明询问了什么以及您如何回答而保存。",
            "zh-Hant": "為證明詢問了什麼以及您如何回答而保存。",
        }
    ),
    retention=RECEIPTS_KEPT,
)

#: So is an answer to a person who asks about their data, and the proof of it (GDPR, articles 12(3) and 5(2)).
_HANDLING = Purpose(
    name=REQUESTS,
    basis="legitimate_interest",
    title=Text(
        {
            "en": "Your requests",
            "ko": "정보주체의 요청 처리",
            "ar": "طلباتك",
            "de": "Ihre Anfragen",
            "es": "Sus solicitudes",
            "fr": "Vos demandes",
            "ja": "ご請求への対応",
            "pt-BR": "Suas solicitações",
            "vi": "Yêu cầu của bạn",
            "zh-Hans": "您的请求",
            "zh-Hant": "您的請求",
        }
    ),
    description=Text(
        {
            "en": "Kept to answer what you ask about your data, and to prove the answer.",
            "ko": "열람·정정·삭제 등의 요청에 답하고, 답했음을 증명하기 위해 보관합니다.",
            "ar": "تُحفظ للرد على ما تطلبه بشأن بياناتك، ولإثبات الرد.",
            "de": "Werden aufbewahrt, um zu beantworten, was Sie zu Ihren Daten fragen, und um die Antwort zu belegen.",
            "es": "Se conservan para responder lo que usted pide sobre sus datos, y para probar la respuesta.",
            "fr": "Conservées pour répondre à ce que vous demandez sur vos données, et pour prouver la réponse.",
            "ja": "ご自身のデータに関する請求に答え、答えたことを証明するために保管します。",
            "pt-BR": "Guardadas para responder ao que você pede sobre seus dados, e para provar a resposta.",
            "vi": "Được lưu để trả lời điều bạn yêu cầu về dữ liệu của mình, và để chứng minh câu trả lời.",
            "zh-Hans": "为答复您对自己数据的请求并证明已经答复而保存。",
            "zh-Hant": "為答覆您對自己資料的請求並證明已經答覆而保存。",
        }
    ),
    retention=REQUESTS_KEPT,
)

#: By name, as a policy has them that says nothing about them.
OWN_PURPOSES: Final = {purpose.name: purpose for purpose in (_PROOF, _HANDLING)}

"""Cookies that well-known frameworks set by themselves, so that a site need not look up their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SESSION = {
    "ko": "로그인과 양식 입력을 유지합니다.",
    "en": "Keeps you signed in and your forms together.",
    "ja": "ログインの状態とフォームの入力内容を保持します。",
    "zh-Hans": "保持您的登录状态和表单内容。",
    "zh-Hant": "保持您的登入狀態和表單內容。",
    "de": "Hält Sie angemeldet und Ihre Formulare zusammen.",
    "fr": "Vous garde connecté et conserve vos formulaires.",
    "es": "Mantiene su sesión iniciada y sus formularios.",
    "pt-BR": "Mantém você conectado e seus formulários preenchidos.",
    "vi": "Giữ bạn đăng nhập và giữ nội dung biểu mẫu của bạn.",
    "ar": "يُبقيك مسجّل الدخول ويحفظ ما تدخله في النماذج.",
}
_CSRF = {
    "ko": "다른 사이트가 사용자를 대신해 양식을 보내지 못하게 합니다.",
    "en": "Stops other sites from sending forms in your name.",
    "ja": "ほかのサイトがあなたの名前でフォームを送信するのを防ぎます。",
    "zh-Hans": "防止其他网站以您的名义提交表单。",
    "zh-Hant": "防止其他網站以您的名義送出表單。",
    "de": "Verhindert, dass andere Websites in Ihrem Namen Formulare absenden.",
    "fr": "Empêche d’autres sites d’envoyer des formulaires en votre nom.",
    "es": "Impide que otros sitios envíen formularios en su nombre.",
    "pt-BR": "Impede que outros sites enviem formulários em seu nome.",
    "vi": "Ngăn các trang web khác gửi biểu mẫu thay bạn.",
    "ar": "يمنع المواقع الأخرى من إرسال نماذج باسمك.",
}
_MESSAGES = {
    "ko": "한 번만 보여 드리는 알림을 담습니다.",
    "en": "Holds messages that are shown once.",
    "ja": "一度だけ表示されるお知らせを保持します。",
    "zh-Hans": "保存只显示一次的消息。",
    "zh-Hant": "保存只顯示一次的訊息。",
    "de": "Enthält Meldungen, die einmal angezeigt werden.",
    "fr": "Contient des messages affichés une seule fois.",
    "es": "Guarda mensajes que se muestran una sola vez.",
    "pt-BR": "Guarda mensagens que são mostradas uma única vez.",
    "vi": "Lưu các thông báo chỉ hiển thị một lần.",
    "ar": "يحفظ رسائل تُعرض مرة واحدة.",
}
_LANGUAGE = {
    "ko": "사용자가 고른 언어를 기억합니다.",
    "en": "Remembers the language you picked.",
    "ja": "選んだ言語を記憶します。",
    "zh-Hans": "记住您选择的语言。",
    "zh-Hant": "記住您選擇的語言。",
    "de": "Merkt sich die Sprache, die Sie gewählt haben.",
    "fr": "Mémorise la langue que vous avez choisie.",
    "es": "Recuerda el idioma que usted eligió.",
    "pt-BR": "Lembra o idioma que você escolheu.",
    "vi": "Ghi nhớ ngôn ngữ bạn đã chọn.",
    "ar": "يتذكّر اللغة التي اخترتها.",
}


def _necessary(name: str, expires: str, description: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "purpose": "necessary", "expires": expires, "description": dict(description)}


#: By framework, entries as they would stand under [[cookies.declared]]. Names and durations are each one's defaults.
PRESETS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "starlette": (_necessary("session", "14 days", _SESSION), _necessary("csrftoken", "session", _CSRF)),
    "django": (
        _necessary("sessionid", "14 days", _SESSION),
        _necessary("csrftoken", "1 year", _CSRF),
        _necessary("messages", "session", _MESSAGES),
        _necessary("django_language", "session", _LANGUAGE),
    ),
    "flask": (_necessary("session", "session", _SESSION), _necessary("remember_token", "1 year", _SESSION)),
    "quart": (_necessary("session", "session", _SESSION),),
    "litestar": (_necessary("session", "14 days", _SESSION), _necessary("csrftoken", "session", _CSRF)),
}

#: The texts of all presets, by language.
PRESET_TEXTS: Final = (_SESSION, _CSRF, _MESSAGES, _LANGUAGE)
